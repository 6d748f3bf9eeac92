"""The subsets of the DREAM 2022 challenge: their weights, files and members in each phase.

Positions are 0-based rows of the challenge's test file. Sources, all of
de-Boer-Lab/random-promoter-dream-challenge-2022@f7b2e19: prixfixe/evaluation.py (weights),
data/test_subset_ids (members), data/public_leaderboard_ids (members of the public phase).
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from camformer_tf import errors
from camformer_tf.data import predictions

PHASES = ("full", "public", "private")


@dataclasses.dataclass(frozen=True)
class Subset:
    """A subset of the challenge.

    Attributes:
        weight: its weight in the scores.
        members: the file of its members; empty for all positions.
        public: the file of its members in the public phase.
        pairs: whether members are pairs of positions, of which the difference is scored.
    """

    weight: float
    members: str
    public: str
    pairs: bool = False


SUBSETS = {
    "all": Subset(1.0, "", "ground.json"),
    "high": Subset(0.3, "high_exp_seqs.csv", "high_exp_indices.json"),
    "low": Subset(0.3, "low_exp_seqs.csv", "low_exp_indices.json"),
    "native": Subset(0.3, "yeast_seqs.csv", "yeast_exp_indices.json"),
    "random": Subset(0.3, "all_random_seqs.csv", "random_exp_indices.json"),
    "challenging": Subset(0.5, "challenging_seqs.csv", "challenging_exp_indices.json"),
    "snv": Subset(1.25, "all_SNVs_seqs.csv", "SNVs_exp_indices.json", pairs=True),
    "motif_perturbation": Subset(
        0.3, "motif_perturbation_seqs.csv", "motif_perturbation_exp_indices.json", pairs=True
    ),
    "motif_tiling": Subset(
        0.4, "motif_tiling_seqs.csv", "motif_tiling_exp_indices.json", pairs=True
    ),
}
RECOVERED_FILE = "snv_pairs_recovered.csv"  # in place of the list of SNV pairs, if that is absent


@dataclasses.dataclass(frozen=True)
class SubsetMembers:
    """The members of the subsets in a phase.

    Attributes:
        phase: one of `PHASES`.
        positions: subset → its positions (n,), or pairs of positions (n, 2), without repetition.
        missing: subset → its file, which does not exist.
        snv_list: the source of the SNV pairs: "official", "recovered" or "none".
    """

    phase: str
    positions: dict[str, np.ndarray]
    missing: dict[str, str]
    snv_list: str


def members(
    phase: str,
    sequences: Sequence[str] | None,
    subsets_dir: Path | None,
    leaderboard_dir: Path | None,
) -> SubsetMembers:
    """Returns the members of the subsets in a phase.

    The public phase is the leaderboard's. The private phase is what is not public: positions in no
    public file, and pairs that are not a public pair.

    Args:
        phase: one of `PHASES`.
        sequences: the sequences of the test file, to compare with those in the files; without them
            only the public phase is available.
        subsets_dir: files as in data/test_subset_ids; for the full and the private phase.
        leaderboard_dir: files as in data/public_leaderboard_ids; for the public and the private
            phase.

    Raises:
        errors.UserError: a folder is missing, or a file does not fit the sequences.
    """
    leaderboard = subsets = None
    if phase != "full":
        contents = "the public leaderboard's ids (--leaderboard)"
        leaderboard = _require_folder(leaderboard_dir, phase, contents)
    if phase != "public":
        subsets = _require_folder(subsets_dir, phase, "the subsets' files (--dream)")
    public = _read(leaderboard, "public", sequences) if leaderboard else {}
    if subsets is None:
        missing = {name: SUBSETS[name].public for name in SUBSETS if name not in public}
        return SubsetMembers(phase, public, missing, "official" if "snv" in public else "none")
    full = _read(subsets, "members", sequences)
    missing = {name: SUBSETS[name].members for name in SUBSETS if name not in full}
    snv_list = "official" if "snv" in full else "none"
    if "snv" in missing and (subsets / RECOVERED_FILE).is_file():
        full["snv"] = _from_csv(subsets / RECOVERED_FILE, True, sequences)
        del missing["snv"]
        snv_list = "recovered"
    if phase == "private":
        missing |= {name: SUBSETS[name].public for name in SUBSETS if name not in public}
        full = _remove_public(full, public)
    positions = {name: full[name] for name in SUBSETS if name in full and name not in missing}
    return SubsetMembers(phase, positions, missing, snv_list)


def _require_folder(folder: Path | None, phase: str, contents: str) -> Path:
    if folder is None:
        raise errors.UserError(f"phase {phase}: name the folder of {contents}.")
    if not folder.is_dir():
        raise errors.UserError(f"{folder}: no such folder.")
    return folder


def _read(folder: Path, kind: str, sequences: Sequence[str] | None) -> dict[str, np.ndarray]:
    """Returns the subsets whose files exist; `kind` is a field of `Subset`."""
    subsets = {}
    for name, subset in SUBSETS.items():
        file = getattr(subset, kind)
        if not file:  # all positions
            if sequences is None:
                raise errors.UserError(
                    "only the public phase can be scored without sequences. Pass predictions in a "
                    "table with the sequences of the test file."
                )
            subsets[name] = np.arange(len(sequences))
        elif (folder / file).is_file():
            read = _from_csv if kind == "members" else _from_json
            subsets[name] = read(folder / file, subset.pairs, sequences)
    return subsets


def _remove_public(
    full: Mapping[str, np.ndarray], public: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns the members that are not public."""
    # A position is public if a public subset has it, be it in a pair.
    public_positions = np.unique(np.concatenate([part.ravel() for part in public.values()]))
    private = {}
    for name, positions in full.items():
        if positions.ndim == 1:
            private[name] = positions[~np.isin(positions, public_positions)]
        elif name in public:
            public_pairs = set(map(tuple, public[name].tolist()))
            is_private = [tuple(pair) not in public_pairs for pair in positions.tolist()]
            private[name] = positions[is_private]
    return private


def _from_csv(path: Path, pairs: bool, sequences: Sequence[str] | None) -> np.ndarray:
    """Returns positions (n,) or pairs (n, 2) of the columns "pos", or "alt_pos" and "ref_pos"."""
    heads = ("alt_", "ref_") if pairs else ("",)
    rows = []
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        for head in heads:
            if head + "pos" not in (table.fieldnames or []):
                raise errors.UserError(
                    f"{path}:1: expected a column {head}pos, found {table.fieldnames}."
                )
        for row in table:
            try:
                places = [int(row[head + "pos"]) for head in heads]
            except (TypeError, ValueError):
                raise errors.UserError(
                    f"{path}:{table.line_num}: position {row[heads[0] + 'pos']!r} is not a number."
                ) from None
            _check(places, f"{path}:{table.line_num}", sequences)
            for head, place in zip(heads, places, strict=True):
                sequence = row.get(head + "sequence")
                if sequence and sequences is not None and sequence != sequences[place]:
                    raise errors.UserError(
                        f"{path}:{table.line_num}: position {place} is {sequence[:40]}…, but the "
                        f"predictions have {sequences[place][:40]}…. Predict the challenge's test "
                        "file in its order."
                    )
            rows.append(places)
    return _unique(rows, pairs)


def _from_json(path: Path, pairs: bool, sequences: Sequence[str] | None) -> np.ndarray:
    """Returns positions (n,) or pairs (n, 2), from keys such as "7" or "7,9"."""
    rows = []
    for key in predictions.read_json(path):
        try:
            places = [int(part) for part in key.split(",")]
        except ValueError:
            places = []
        if len(places) != 1 + pairs:
            raise errors.UserError(
                f"{path}: expected keys such as {'7,9' if pairs else '7'}, found {key!r}."
            )
        _check(places, str(path), sequences)
        rows.append(places)
    return _unique(rows, pairs)


def _check(places: list[int], source: str, sequences: Sequence[str] | None) -> None:
    if min(places) < 0 or (sequences is not None and max(places) >= len(sequences)):
        count = "any number of" if sequences is None else f"{len(sequences):,}"
        raise errors.UserError(
            f"{source}: position {max(places, key=abs)} is not among {count} rows. Predict the "
            "whole test file of the challenge, in its order."
        )


def _unique(rows: list[list[int]], pairs: bool) -> np.ndarray:
    unique = np.unique(np.array(rows, np.int64).reshape(-1, 1 + pairs), axis=0)  # (n, 1 or 2)
    return unique if pairs else unique[:, 0]

"""The scorecard of the DREAM 2022 challenge: its subsets, weights, phases and scores.

Positions are 0-based rows of the challenge's test file. Sources, all of
de-Boer-Lab/random-promoter-dream-challenge-2022@f7b2e19: prixfixe/evaluation.py (weights, scores),
data/test_subset_ids (members of the subsets), data/public_leaderboard_ids (members of the public
phase).
"""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from camformer_tf import errors
from camformer_tf.data import predictions
from camformer_tf.metrics import bootstrap, correlation

PHASES = ("full", "public", "private")
METRICS = ("pearson", "spearman")


@dataclasses.dataclass(frozen=True)
class Subset:
    """A subset's weight in the scores and its two files; the difference of `pairs` is scored."""

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
RECOVERED = "snv_pairs_recovered.csv"  # for the list of SNV pairs, which is not to be had
_PUBLISHED = {"native": "yeast", "snv": "SNVs"}  # our name → its column in a table of teams


@dataclasses.dataclass(frozen=True)
class Members:
    """Who is in which subset: name → positions (n,) or pairs of positions (n, 2), unique. Subsets
    whose file is missing are named in `missing`; `snv_list` says where the SNV pairs come from:
    "official", "recovered" or "none".
    """

    phase: str
    positions: dict[str, np.ndarray]
    missing: dict[str, str]
    snv_list: str


@dataclasses.dataclass(frozen=True)
class SubsetScore:
    """Correlations of a subset of n members; None where undefined. `ci`: metric → the interval that
    holds 95 % of the bootstrap's values.
    """

    n: int
    pearson: float | None
    spearman: float | None
    weight: float
    ci: dict[str, tuple[float, float]] | None = None


@dataclasses.dataclass(frozen=True)
class Scorecard:
    """Subset scores, and the three scores of the challenge: None where a subset is missing, or a
    correlation undefined.
    """

    phase: str
    snv_list: str
    missing: dict[str, str]
    subsets: dict[str, SubsetScore]
    score_pearson: float | None
    score_spearman: float | None
    score_overall: float | None
    ci: dict[str, tuple[float, float]] | None = None


# === Members ===


def members(
    phase: str,
    sequences: Sequence[str] | None,
    subsets_dir: Path | None,
    leaderboard_dir: Path | None,
) -> Members:
    """Returns the subsets of a phase: "full", "public" (the leaderboard's), or "private" (what is
    not public: positions in no public file, pairs that are no public pair).

    Args:
        sequences: the test file's, with which the files' own sequences are compared; without them
            nothing is known of their number, and only the public phase can be had.
        subsets_dir: files as in data/test_subset_ids; for the full and the private phase.
        leaderboard_dir: files as in data/public_leaderboard_ids; for the public and the private.

    Raises:
        errors.UserError: a folder that is not given or not there, or a file that does not fit.
    """
    if phase != "full" and leaderboard_dir is None:
        raise errors.UserError(
            f"phase {phase}: give the folder of the public leaderboard's ids (--leaderboard)."
        )
    if phase != "public" and subsets_dir is None:
        raise errors.UserError(f"phase {phase}: give the folder of the subsets' files (--dream).")
    public = {} if phase == "full" else _read(leaderboard_dir, "public", sequences)
    if phase == "public":
        missing = {name: SUBSETS[name].public for name in SUBSETS if name not in public}
        return Members(phase, public, missing, "official" if "snv" in public else "none")
    whole = _read(subsets_dir, "members", sequences)
    missing = {name: SUBSETS[name].members for name in SUBSETS if name not in whole}
    snv_list = "official" if "snv" in whole else "none"
    if "snv" in missing and (subsets_dir / RECOVERED).is_file():
        whole["snv"] = _from_csv(subsets_dir / RECOVERED, True, sequences)
        del missing["snv"]
        snv_list = "recovered"
    if phase == "private":
        missing |= {name: SUBSETS[name].public for name in SUBSETS if name not in public}
        whole = _without(whole, public)
    ordered = {name: whole[name] for name in SUBSETS if name in whole and name not in missing}
    return Members(phase, ordered, missing, snv_list)


def _read(folder: Path, kind: str, sequences: Sequence[str] | None) -> dict[str, np.ndarray]:
    """Returns the subsets whose files are there."""
    if not folder.is_dir():
        raise errors.UserError(f"{folder}: no such folder.")
    found = {}
    for name, subset in SUBSETS.items():
        file = getattr(subset, kind)
        if not file:  # all
            found[name] = np.arange(len(sequences))
        elif (folder / file).is_file():
            read = _from_csv if kind == "members" else _from_json
            found[name] = read(folder / file, subset.pairs, sequences)
    return found


def _without(whole: Mapping[str, np.ndarray], public: Mapping[str, np.ndarray]):
    """Returns the members that are not public."""
    singles = [positions for positions in public.values() if positions.ndim == 1]
    pairs = [positions.ravel() for positions in public.values() if positions.ndim == 2]
    seen = np.unique(np.concatenate([*singles, *pairs]))
    private = {}
    for name, positions in whole.items():
        if positions.ndim == 1:
            private[name] = positions[~np.isin(positions, seen)]
        elif name in public:
            shown = set(map(tuple, public[name].tolist()))
            kept = [tuple(pair) not in shown for pair in positions.tolist()]
            private[name] = positions[kept]
    return private


def _from_csv(path: Path, pairs: bool, sequences: Sequence[str] | None) -> np.ndarray:
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
                    f"{path}:{table.line_num}: position {row[heads[0] + 'pos']!r} is no number."
                ) from None
            _check(places, f"{path}:{table.line_num}", sequences)
            for head, place in zip(heads, places, strict=True):
                known = row.get(head + "sequence")
                if known and sequences is not None and known != sequences[place]:
                    raise errors.UserError(
                        f"{path}:{table.line_num}: position {place} is {known[:40]}…, where the "
                        f"predictions have {sequences[place][:40]}…. The subsets are of the "
                        "challenge's test file, in its order."
                    )
            rows.append(places)
    return _unique(rows, pairs)


def _from_json(path: Path, pairs: bool, sequences: Sequence[str] | None) -> np.ndarray:
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


def _check(places: list[int], where: str, sequences: Sequence[str] | None) -> None:
    if min(places) < 0 or (sequences is not None and max(places) >= len(sequences)):
        shown = "any number of" if sequences is None else f"{len(sequences):,}"
        raise errors.UserError(
            f"{where}: position {max(places, key=abs)} is not among {shown} rows. The subsets are "
            "of the challenge's test file: predict the whole of it, in its order."
        )


def _unique(rows: list[list[int]], pairs: bool) -> np.ndarray:
    found = np.unique(np.array(rows, np.int64).reshape(-1, 1 + pairs), axis=0)
    return found if pairs else found[:, 0]


# === Scores ===


def score(
    expression: np.ndarray,
    prediction: np.ndarray,
    chosen: Members,
    *,
    resamples: int = 0,
    seed: int = 42,
) -> Scorecard:
    """Returns the scorecard of predictions, float64 (N,), against measured expression (N,).

    score_pearson is the mean of r² over the subsets by their weights, score_spearman that of rho,
    score_overall the mean of the two.

    Args:
        resamples: how often the members of each subset are drawn anew for intervals; 0 for none.

    Raises:
        errors.UserError: a member without a prediction or an expression.
    """
    found, drawn = {}, {}
    for name, positions in chosen.positions.items():
        y, p = _values(expression, prediction, positions, name)
        values = {"pearson": correlation.pearson(y, p), "spearman": correlation.spearman(y, p)}
        ci = None
        if resamples:
            draw = np.random.default_rng([seed, list(SUBSETS).index(name)])
            drawn[name] = bootstrap.correlations(y, [p], resamples, draw)[:, 0]
            ci = bootstrap.intervals(drawn[name], METRICS)
        found[name] = SubsetScore(
            len(y), *(_defined(v) for v in values.values()), SUBSETS[name].weight, ci
        )
    scores = _scores(np.array([[[f.pearson, f.spearman] for f in found.values()]], float), found)
    whole = len(found) == len(SUBSETS)
    scores = [_defined(v) if whole else None for v in scores[0]]
    ci = None
    if resamples and whole:
        names = ("score_pearson", "score_spearman", "score_overall")
        ci = bootstrap.intervals(_scores(np.stack([*drawn.values()], axis=1), found), names)
    return Scorecard(chosen.phase, chosen.snv_list, chosen.missing, found, *scores, ci)


def _scores(values: np.ndarray, found: Mapping[str, SubsetScore]) -> np.ndarray:
    """Returns the three scores (K, 3) of r and rho of every subset (K, subsets, 2)."""
    weights = np.array([subset.weight for subset in found.values()])
    both = np.stack([values[..., 0] ** 2, values[..., 1]], axis=-1)
    means = np.einsum("ksm,s->km", both, weights) / weights.sum()
    return np.column_stack([means, means.mean(axis=1)])


def _values(expression, prediction, positions, name):
    """Returns measured and predicted values of a subset's members, of pairs the differences."""
    for values, what in ((prediction, "prediction"), (expression, "expression")):
        absent = np.unique(positions[~np.isfinite(values[positions])])
        if len(absent):
            raise errors.UserError(
                f"subset {name}: position {absent[0]} has no finite {what} ({len(absent):,} "
                "positions in all). A score needs all of them."
            )
    if positions.ndim == 1:
        return expression[positions], prediction[positions]
    alt, ref = positions.T
    return expression[ref] - expression[alt], prediction[ref] - prediction[alt]


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


# === Published results ===


def published(path: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Returns a table of teams: team → metric → subset or "score" → value, as the scorecard has
    them. In the file, the rows "pearson" hold r².

    Source of the form: manuscript_figures/Figure_4_S5_S6/data/sota.csv of
    Bornelov-lab/Camformer@feaa529.

    Raises:
        errors.UserError: it is no such table.
    """
    teams: dict[str, dict[str, dict[str, float]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            (_, _, *header), *rows = csv.reader(file, delimiter="\t")
        for metric, team, *values in rows:
            row = dict(zip(header, map(float, values), strict=True))
            known = {name: row[_PUBLISHED.get(name, name)] for name in SUBSETS}
            if metric == "pearson":
                known = {name: math.sqrt(value) for name, value in known.items()}
            teams.setdefault(team, {})[metric] = known | {"score": row["score"]}
    except (OSError, KeyError, ValueError) as error:
        raise errors.UserError(
            f"{path}: is no table of published scores ({error}). Expected tab-separated columns: "
            "metric, team, all, high, low, yeast, …, score."
        ) from error
    return teams


def rank(value: float | None, others: Sequence[float]) -> int | None:
    """Returns the place that a value would have among others, 1 the highest."""
    return None if value is None else 1 + sum(other > value for other in others)

"""A challenge of 40 sequences, with subsets as those of DREAM 2022."""

import csv
import json
from pathlib import Path

import numpy as np

from camformer_tf.metrics import dream_subsets

SEQUENCES = ["".join(row) for row in np.random.default_rng(1).choice(list("ACGT"), (40, 12))]


def write(folder: Path) -> tuple[Path, Path]:
    """Writes the subset files and the leaderboard files, and returns their folders."""
    subsets, public = folder / "subsets", folder / "public"
    subsets.mkdir()
    public.mkdir()
    singles = {"high": range(8), "low": range(8, 16), "native": [1, 1, 20, 21, 22, 9],
               "random": range(20, 40), "challenging": range(5, 30)}  # fmt: skip
    pairs = {"snv": [(i, i + 1) for i in range(30)], "motif_perturbation": [(0, 5), (0, 5), (7, 9)],
             "motif_tiling": [(3, 3), (4, 30), (8, 2), (30, 4)]}  # fmt: skip
    for name, positions in singles.items():
        rows = [["", "tag", SEQUENCES[i], i, ""] for i in positions]
        _write_csv(
            subsets / dream_subsets.SUBSETS[name].members,
            ["", "tag", "sequence", "pos", "exp"],
            rows,
        )
        _write_json(
            public / dream_subsets.SUBSETS[name].public, {str(i): 0.0 for i in list(positions)[:3]}
        )
    for name, members in pairs.items():
        rows = [[SEQUENCES[a], SEQUENCES[r], a, r] for a, r in members]
        header = ["alt_sequence", "ref_sequence", "alt_pos", "ref_pos"]
        _write_csv(subsets / dream_subsets.SUBSETS[name].members, header, rows)
        pair_values = {f"{a},{r}": [0.0, 0.0] for a, r in members[:2]}
        _write_json(public / dream_subsets.SUBSETS[name].public, pair_values)
    _write_json(public / "ground.json", {str(i): 0.0 for i in [0, 1, 2, 8, 9, 10, 20, 21, 22]})
    return subsets, public


def _write_csv(path: Path, header: list[str], rows: list[list]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def _write_json(path: Path, values: dict) -> None:
    path.write_text(json.dumps(values))


def values() -> tuple[np.ndarray, np.ndarray]:
    """Returns measured expression and predictions, (40,) each."""
    rng = np.random.default_rng(2)
    y = rng.normal(size=40)
    return y, y + rng.normal(size=40)

"""A predictions table and its measured values, for tests of the evaluation."""

from pathlib import Path

import numpy as np

RNG = np.random.default_rng(0)
TRUTH = np.rint(RNG.normal(11, 2, 200))  # (200,)
PREDICTION = np.float32(TRUTH + RNG.normal(0, 1, 200)).astype(float)  # (200,)
SEQUENCES = ["".join(row) for row in RNG.choice(list("ACGT"), (200, 30)).tolist()]


def table(folder: Path, prediction=PREDICTION, expression=TRUTH) -> Path:
    """Writes a predictions table; None in a column is an empty field."""
    columns = [SEQUENCES[: len(prediction)], prediction] + [expression] * (expression is not None)
    names = ["sequence", "prediction", "expression"][: len(columns)]
    rows = [["" if v is None else str(v) for v in row] for row in zip(*columns, strict=True)]
    path = folder / "predictions.tsv"
    path.write_text("".join("\t".join(row) + "\n" for row in [names, *rows]))
    return path


def truth(folder: Path, sequences=SEQUENCES, expression=TRUTH) -> Path:
    """Writes the text of the measured sequences."""
    rows = zip(sequences, expression, strict=True)
    path = folder / "truth.txt"
    path.write_text("".join(f"{sequence}\t{value}\n" for sequence, value in rows))
    return path

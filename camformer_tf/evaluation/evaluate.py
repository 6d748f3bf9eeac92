"""Scores from a predictions table."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np

from camformer_tf import errors, rundir
from camformer_tf.data import predictions, rules, text
from camformer_tf.metrics import correlation


@dataclasses.dataclass(frozen=True)
class Scores:
    """Scores over the n rows that have a prediction; None where a correlation is undefined."""

    n: int
    unpredicted: int
    pearson: float | None
    pearson_squared: float | None
    spearman: float | None
    mae: float
    rmse: float

    def summary(self) -> str:
        """Returns the scores as a table for a person."""
        rows = [(name.replace("_", " "), value) for name, value in dataclasses.asdict(self).items()]
        return "\n".join(f"{name:<16} {_show(value)}" for name, value in rows)


def evaluate(table_path: Path, truth_path: Path | None = None) -> Scores:
    """Returns the scores of a predictions table.

    Args:
        table_path: the table that `predict` wrote.
        truth_path: text of SEQUENCE<TAB>EXPRESSION lines, the same sequences in the same order;
            without it, the table's own expression column is the truth.

    Raises:
        errors.UserError: rows that do not match, a missing expression, an infinite value,
            or no prediction at all.
    """
    table = predictions.read(table_path)
    where = str(truth_path or table_path)
    expression = table.expression if truth_path is None else _truth(truth_path, table)
    if expression is None:
        raise errors.UserError(
            f"{table_path}: has no expression column. Name the measured values: "
            f"camformer-tf evaluate {table_path} TRUTH"
        )
    predicted = ~np.isnan(table.prediction)
    if missing := np.flatnonzero(predicted & ~np.isfinite(expression)).tolist():
        raise errors.UserError(
            f"{where}: row {missing[0] + 1} has no finite expression ({len(missing)} rows in all)."
        )
    if infinite := np.flatnonzero(np.isinf(table.prediction)).tolist():
        raise errors.UserError(
            f"{table_path}: row {infinite[0] + 1} has an infinite prediction ({len(infinite)} rows "
            "in all)."
        )
    if not predicted.any():
        raise errors.UserError(f"{table_path}: not one row has a prediction.")
    return score(expression[predicted], table.prediction[predicted], int((~predicted).sum()))


def score(expression: np.ndarray, prediction: np.ndarray, unpredicted: int = 0) -> Scores:
    """Returns the scores of predictions, float64 (N,), against measured expression (N,)."""
    error = prediction - expression
    r = _defined(correlation.pearson(expression, prediction))
    return Scores(
        n=len(expression),
        unpredicted=unpredicted,
        pearson=r,
        pearson_squared=None if r is None else r * r,
        spearman=_defined(correlation.spearman(expression, prediction)),
        mae=float(np.abs(error).mean()),
        rmse=float(np.sqrt((error**2).mean())),
    )


def save(scores: Scores, path: Path) -> None:
    """Writes scores.json."""
    with rundir.new_file(path) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(scores), indent=2) + "\n")


def _truth(path: Path, table: predictions.Table) -> np.ndarray:
    """Returns the expression of a text whose sequences are the table's, row for row; NaN where a
    malformed line has no prediction either."""
    sequences, values = [], []
    for block in text.Source(path).blocks():
        for number, line in enumerate(block.read().split(b"\n"), block.first):
            if fields := line.split():
                reason, row = rules.malformed(fields), len(values)
                if reason and not np.isnan(table.prediction[row : row + 1]).any():
                    raise errors.UserError(f"{path}:{number}: {reason}.")
                sequences.append(fields[0].decode("utf-8", "replace"))
                values.append(np.nan if reason else float(fields[1]))
    if len(sequences) != len(table.sequences):
        raise errors.UserError(
            f"{path}: has {len(sequences):,} rows, the predictions have {len(table.sequences):,}. "
            "Give the text that was predicted."
        )
    for row, pair in enumerate(zip(sequences, table.sequences, strict=True), 1):
        if pair[0].upper() != pair[1].upper():
            raise errors.UserError(
                f"{path}: row {row} is {pair[0][:40]}…, where the predictions have "
                f"{pair[1][:40]}…. Give the text that was predicted, in its order."
            )
    return np.array(values)


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value


def _show(value: float | int | None) -> str:
    if value is None:
        return "undefined (no spread)"
    return f"{value:,}" if isinstance(value, int) else f"{value:.6f}"

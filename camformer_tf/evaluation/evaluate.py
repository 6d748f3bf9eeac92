"""Scores from a predictions table."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np

from camformer_tf import errors, files
from camformer_tf.data import predictions, rules, text
from camformer_tf.metrics import bootstrap, correlation, dream

_METRICS = ("pearson", "spearman")
_SEED = 42  # of the resamples


@dataclasses.dataclass(frozen=True)
class Scores:
    """Scores over the n rows that have a prediction; None where a correlation is undefined. `ci`:
    metric → the interval that holds 95 % of the bootstrap's values.
    """

    n: int
    unpredicted: int
    pearson: float | None
    pearson_squared: float | None
    spearman: float | None
    mae: float
    rmse: float
    ci: dict[str, tuple[float, float]] | None = None

    def summary(self) -> str:
        """Returns the scores as a table for a person."""
        values = dataclasses.asdict(self)
        intervals = values.pop("ci") or {}
        return "\n".join(
            f"{name.replace('_', ' '):<16} {show(value)}{show_interval(intervals.get(name))}"
            for name, value in values.items()
        )


@dataclasses.dataclass(frozen=True)
class Pairs:
    """What is judged: N predictions and measurements, float64 (N,), NaN where there is none, the
    files that they are of, and the sequences, where they are known.
    """

    table: str
    truth: str
    expression: np.ndarray
    prediction: np.ndarray
    sequences: list[str] | None = None


@dataclasses.dataclass(frozen=True)
class Difference:
    """By how much the first of two predictions scores higher; `ci` as in `Scores`, and the share of
    the resamples in which it does. None where a correlation is undefined.
    """

    difference: float | None
    ci: tuple[float, float] | None = None
    better: float | None = None

    def summary(self) -> str:
        """Returns the difference for a person."""
        share = "" if self.better is None else f"  in {self.better:.1%} of the resamples"
        return f"{show(self.difference)}{show_interval(self.ci)}{share}"


def evaluate(table_path: Path, truth_path: Path | None = None, *, resamples: int = 0) -> Scores:
    """Returns the scores of a predictions table.

    Args:
        table_path: the table that `predict` wrote.
        truth_path: text of SEQUENCE<TAB>EXPRESSION lines, the same sequences in the same order;
            without it, the table's own expression column is the truth.
        resamples: of the rows, for intervals; 0 for none.

    Raises:
        errors.UserError: rows that do not match, a missing expression, an infinite value,
            or no prediction at all.
    """
    return score_pairs(read(table_path, truth_path), resamples=resamples)


def read(table_path: Path, truth_path: Path | None = None) -> Pairs:
    """Returns predictions with what was measured.

    Args:
        table_path: the table that `predict` wrote, or the challenge's JSON: position → prediction.
        truth_path: see `evaluate`; the JSON needs it.

    Raises:
        errors.UserError: rows that do not match, or no measured values.
    """
    if table_path.suffix == ".json":
        if truth_path is None:
            raise errors.UserError(
                f"{table_path}: holds positions alone. Name the measured values: camformer-tf "
                f"evaluate {table_path} TRUTH"
            )
        sequences, expression = _truth(truth_path)
        prediction = from_json(table_path, len(sequences))
        return Pairs(str(table_path), str(truth_path), expression, prediction, sequences)
    table = predictions.read(table_path)
    if truth_path is None:
        if table.expression is None:
            raise errors.UserError(
                f"{table_path}: has no expression column. Name the measured values: "
                f"camformer-tf evaluate {table_path} TRUTH"
            )
        expression, truth_path = table.expression, table_path
    else:
        _, expression = _truth(truth_path, table)
    names = str(table_path), str(truth_path)
    return Pairs(*names, expression, table.prediction, table.sequences)


def from_json(path: Path, rows: int) -> np.ndarray:
    """Returns the predictions of the challenge's JSON, float64 (rows,), NaN where there is none.

    Raises:
        errors.UserError: a position that is no row, or a value that is no number.
    """
    prediction = np.full(rows, np.nan)
    for key, value in predictions.read_json(path).items():
        if not key.isdecimal() or int(key) >= rows:
            raise errors.UserError(f"{path}: position {key!r} is none of the {rows:,} rows.")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise errors.UserError(f"{path}: position {key} has {value!r}, which is no number.")
        prediction[int(key)] = value
    return prediction


def score_pairs(pairs: Pairs, *, resamples: int = 0) -> Scores:
    """Returns the scores of all rows that have a prediction.

    Raises:
        errors.UserError: a missing expression, an infinite value, or no prediction at all.
    """
    predicted = ~np.isnan(pairs.prediction)
    if missing := np.flatnonzero(predicted & ~np.isfinite(pairs.expression)).tolist():
        raise errors.UserError(
            f"{pairs.truth}: row {missing[0] + 1} has no finite expression ({len(missing)} rows in "
            "all)."
        )
    if infinite := np.flatnonzero(np.isinf(pairs.prediction)).tolist():
        raise errors.UserError(
            f"{pairs.table}: row {infinite[0] + 1} has an infinite prediction ({len(infinite)} "
            "rows in all)."
        )
    if not predicted.any():
        raise errors.UserError(f"{pairs.table}: not one row has a prediction.")
    y, p = pairs.expression[predicted], pairs.prediction[predicted]
    found = score(y, p, int((~predicted).sum()))
    if not resamples:
        return found
    drawn = bootstrap.correlations(y, [p], resamples, np.random.default_rng(_SEED))[:, 0]
    return dataclasses.replace(found, ci=bootstrap.intervals(drawn, _METRICS))


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


def compare(first: Pairs, second: Pairs, *, resamples: int) -> dict[str, Difference]:
    """Returns metric → how much higher the first predictions score than the second, over the rows
    that have both; each resample draws the same rows for both.

    Raises:
        errors.UserError: predictions of other sequences, or no row that has both.
    """
    if len(first.prediction) != len(second.prediction) or first.sequences != second.sequences:
        raise errors.UserError("the two predictions are not of the same sequences in one order.")
    both = np.isfinite(first.prediction) & np.isfinite(second.prediction)
    both &= np.isfinite(first.expression)
    if not both.any():
        raise errors.UserError("there is no row of which both predictions and truth are known.")
    y, *p = first.expression[both], first.prediction[both], second.prediction[both]
    draw = np.random.default_rng(_SEED)
    drawn = bootstrap.correlations(y, p, resamples, draw) if resamples else None
    found = {}
    for i, metric in enumerate((correlation.pearson, correlation.spearman)):
        name = _METRICS[i]
        difference = _defined(metric(y, p[0]) - metric(y, p[1]))
        if drawn is None:
            found[name] = Difference(difference)
            continue
        differences = drawn[:, 0, i] - drawn[:, 1, i]
        ci = bootstrap.intervals(differences[:, None], [name]).get(name)
        found[name] = Difference(difference, ci, float((differences > 0).mean()) if ci else None)
    return found


def save(
    scores: Scores,
    path: Path,
    card: dream.Scorecard | None = None,
    against: dict[str, Difference] | None = None,
) -> None:
    """Writes scores.json: the scores, with those of a scorecard and a comparison, if there are."""
    found = dataclasses.asdict(scores) | (dataclasses.asdict(card) if card else {})
    if against:
        found["against"] = {name: dataclasses.asdict(one) for name, one in against.items()}
    with files.new_file(path) as temporary:
        temporary.write_text(json.dumps(_without_ci(found), indent=2, allow_nan=False) + "\n")


def show(value: float | int | None) -> str:
    """Returns a number for a person."""
    if value is None:
        return "undefined (no spread)"
    return f"{value:,}" if isinstance(value, int) else f"{value:.6f}"


def show_interval(ci: tuple[float, float] | None) -> str:
    """Returns an interval for a person, or nothing."""
    return f"  ({ci[0]:.4f} to {ci[1]:.4f})" if ci else ""


def _truth(path: Path, table: predictions.Table | None = None) -> tuple[list[str], np.ndarray]:
    """Returns sequences and expression of a text; of a table, if one is given, the sequences are
    the same row for row, and NaN where a malformed line has no prediction either.
    """
    sequences, values = [], []
    for block in text.Source(path).blocks():
        for number, line in enumerate(block.read().split(b"\n"), block.first):
            if fields := line.split():
                reason, row = rules.malformed(fields), len(values)
                unpredicted = table and np.isnan(table.prediction[row : row + 1]).any()
                if reason and not unpredicted:
                    raise errors.UserError(f"{path}:{number}: {reason}.")
                sequences.append(fields[0].decode("utf-8", "replace"))
                values.append(np.nan if reason else float(fields[1]))
    predicted = table.sequences if table else sequences
    if len(sequences) != len(predicted):
        raise errors.UserError(
            f"{path}: has {len(sequences):,} rows, the predictions have {len(predicted):,}. "
            "Give the text that was predicted."
        )
    for row, pair in enumerate(zip(sequences, predicted, strict=True), 1):
        if pair[0].upper() != pair[1].upper():
            raise errors.UserError(
                f"{path}: row {row} is {pair[0][:40]}…, where the predictions have "
                f"{pair[1][:40]}…. Give the text that was predicted, in its order."
            )
    return sequences, np.array(values)


def _without_ci(found: dict) -> dict:
    """Returns scores without the intervals that there are not."""
    kept = {key: value for key, value in found.items() if key != "ci" or value is not None}
    return {k: _without_ci(v) if isinstance(v, dict) else v for k, v in kept.items()}


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value

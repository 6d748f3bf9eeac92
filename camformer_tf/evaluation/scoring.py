"""Correlations and errors of predictions, and the difference between two sets of predictions."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from camformer_tf import errors
from camformer_tf.evaluation import pairing
from camformer_tf.metrics import bootstrap, correlation

METRICS = ("pearson", "spearman")

_SEED = 42  # of the resamples
_CORRELATIONS = {"pearson": correlation.pearson, "spearman": correlation.spearman}


@dataclasses.dataclass(frozen=True)
class Scores:
    """Scores over the n rows that have a prediction.

    Attributes:
        n: rows with a prediction.
        unpredicted: rows without one.
        pearson, pearson_squared, spearman: None where a correlation is undefined.
        mae, rmse: mean absolute error and root mean squared error, in units of expression.
        ci: metric → bounds of the 95 % bootstrap interval.
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
class Difference:
    """How much higher the first of two sets of predictions scores.

    Attributes:
        difference: None where a correlation is undefined.
        ci: bounds of the 95 % bootstrap interval.
        better: fraction of the resamples in which the first scores higher.
    """

    difference: float | None
    ci: tuple[float, float] | None = None
    better: float | None = None

    def summary(self) -> str:
        """Returns the difference for a person."""
        share = "" if self.better is None else f"  in {self.better:.1%} of the resamples"
        return f"{show(self.difference)}{show_interval(self.ci)}{share}"


def score_pairs(pairs: pairing.Pairs, *, resamples: int = 0) -> Scores:
    """Returns the scores over all rows that have a prediction.

    Args:
        pairs: predictions and measured values.
        resamples: bootstrap resamples of the rows, for intervals; 0 for none.

    Raises:
        errors.UserError: a missing expression, an infinite value, or no prediction at all.
    """
    is_predicted = ~np.isnan(pairs.prediction)  # (N,)
    if missing := np.flatnonzero(is_predicted & ~np.isfinite(pairs.expression)).tolist():
        raise errors.UserError(
            f"{pairs.truth}: row {missing[0] + 1} has no finite expression "
            f"({_rows(len(missing))} in all)."
        )
    if infinite := np.flatnonzero(np.isinf(pairs.prediction)).tolist():
        raise errors.UserError(
            f"{pairs.table}: row {infinite[0] + 1} has an infinite prediction "
            f"({_rows(len(infinite))} in all)."
        )
    if not is_predicted.any():
        raise errors.UserError(f"{pairs.table}: no row has a prediction.")
    y, p = pairs.expression[is_predicted], pairs.prediction[is_predicted]  # (n,)
    scores = score(y, p, int((~is_predicted).sum()))
    if not resamples:
        return scores
    draw = np.random.default_rng(_SEED)
    samples = bootstrap.correlations(y, [p], resamples, draw)[:, 0]  # (resamples, 2)
    return dataclasses.replace(scores, ci=bootstrap.intervals(samples, METRICS))


def score(expression: np.ndarray, prediction: np.ndarray, unpredicted: int = 0) -> Scores:
    """Returns the scores of predictions, float64 (N,), against measured expression (N,)."""
    error = prediction - expression  # (N,), in units of expression
    r = _none_if_nan(correlation.pearson(expression, prediction))
    return Scores(
        n=len(expression),
        unpredicted=unpredicted,
        pearson=r,
        pearson_squared=None if r is None else r * r,
        spearman=_none_if_nan(correlation.spearman(expression, prediction)),
        mae=float(np.abs(error).mean()),
        rmse=float(np.sqrt((error**2).mean())),
    )


def compare(
    first: pairing.Pairs, second: pairing.Pairs, *, resamples: int
) -> dict[str, Difference]:
    """Returns metric → how much higher the first predictions score than the second.

    Only rows that both predict count. Each resample draws the same rows for both, so the interval
    is that of the difference.

    Raises:
        errors.UserError: predictions of different sequences, or no row that both predict.
    """
    is_other = first.sequences and second.sequences and first.sequences != second.sequences
    if is_other or len(first.prediction) != len(second.prediction):
        raise errors.UserError(
            f"{second.table}: not the same sequences in the same order as {first.table}."
        )
    is_usable = np.isfinite(first.prediction) & np.isfinite(second.prediction)  # (N,)
    is_usable &= np.isfinite(first.expression)
    if not is_usable.any():
        raise errors.UserError(
            f"{second.table}: no row has a measured value and a prediction here and in "
            f"{first.table}."
        )
    y = first.expression[is_usable]  # (n,)
    p = [first.prediction[is_usable], second.prediction[is_usable]]  # 2 × (n,)
    draw = np.random.default_rng(_SEED)
    samples = None
    if resamples:
        samples = bootstrap.correlations(y, p, resamples, draw)  # (resamples, 2, 2)
    differences = {}
    for i, (name, metric) in enumerate(_CORRELATIONS.items()):
        difference = _none_if_nan(metric(y, p[0]) - metric(y, p[1]))
        if samples is None:
            differences[name] = Difference(difference)
            continue
        gains = samples[:, 0, i] - samples[:, 1, i]  # (resamples,)
        # no interval where a resample has an undefined correlation
        ci = bootstrap.intervals(gains[:, None], [name]).get(name)
        differences[name] = Difference(difference, ci, float((gains > 0).mean()) if ci else None)
    return differences


def show(value: float | None) -> str:
    """Returns a score for a person."""
    if value is None:
        return "undefined (no spread)"
    return f"{value:,}" if isinstance(value, int) else f"{value:.6f}"


def show_interval(ci: tuple[float, float] | None) -> str:
    """Returns an interval for a person, or nothing."""
    return f"  ({ci[0]:.4f} to {ci[1]:.4f})" if ci else ""


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else value

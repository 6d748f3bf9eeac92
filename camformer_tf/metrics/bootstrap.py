"""Correlations of resampled examples: how far a score would move with other examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def correlations(
    y: np.ndarray, predictions: Sequence[np.ndarray], count: int, draw: np.random.Generator
) -> np.ndarray:
    """Returns Pearson's r and Spearman's rho of `count` resamples: float64 (count, P, 2).

    Each resample draws N of the N examples with replacement, the same ones for all predictions, so
    that differences between these are paired. NaN where a correlation is undefined.

    Args:
        y: (N,), finite.
        predictions: P arrays (N,), finite.
    """
    known = [_Sorted(values) for values in (y, *predictions)]
    out = np.full((count, len(predictions), 2), np.nan)
    for i in range(count):
        times = np.bincount(draw.integers(len(y), size=len(y)), minlength=len(y)).astype(float)
        measured, *predicted = ([one.values, one.ranks(times)] for one in known)
        for j, columns in enumerate(predicted):
            for k in range(2):
                out[i, j, k] = _weighted(measured[k], columns[k], times)
    return out


def intervals(values: np.ndarray, names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Returns name → the interval that holds the middle 95 % of a column of values (count, names);
    a column with a value that is undefined has none.
    """
    ends = np.quantile(values, [0.025, 0.975], axis=0).T.tolist()
    pairs = zip(names, ends, strict=True)
    return {name: (low, high) for name, (low, high) in pairs if np.isfinite(low + high)}


class _Sorted:
    """Values of which ranks within a resample are had without sorting again."""

    def __init__(self, values: np.ndarray):
        values = np.asarray(values, np.float64)
        _, self._codes = np.unique(values, return_inverse=True)
        self.values = values - values.mean()  # so that products keep the spread's precision

    def ranks(self, times: np.ndarray) -> np.ndarray:
        """Returns the ranks of examples that occur so many times each, ties sharing theirs."""
        counts = np.bincount(self._codes, times)
        return (np.cumsum(counts) - (counts - 1) / 2)[self._codes]


def _weighted(a: np.ndarray, b: np.ndarray, times: np.ndarray) -> float:
    """Returns Pearson's r of examples that occur so many times each."""
    there = times > 0
    if not np.ptp(a[there]) or not np.ptp(b[there]):
        return float("nan")
    total = times.sum()
    a, b = a - times @ a / total, b - times @ b / total
    return float((times * a) @ b / np.sqrt((times * a) @ a * ((times * b) @ b)))

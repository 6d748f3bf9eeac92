"""Bootstrap: how much a correlation varies between samples of examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def correlations(
    y: np.ndarray, predictions: Sequence[np.ndarray], count: int, draw: np.random.Generator
) -> np.ndarray:
    """Returns Pearson's r and Spearman's rho of resamples, float64 (count, P, 2).

    Each resample draws N of the N examples with replacement, the same ones for all predictions, so
    that differences between predictions are paired. NaN where a correlation is undefined.

    Args:
        y: measured values, (N,), finite.
        predictions: P arrays (N,), finite.
        count: the number of resamples.
        draw: the source of randomness.
    """
    columns = [_Column(values) for values in (y, *predictions)]
    out = np.full((count, len(predictions), 2), np.nan)
    for i in range(count):
        indices = draw.integers(len(y), size=len(y))
        # Weights, (N,), instead of the drawn examples, so that nothing need be sorted again.
        times = np.bincount(indices, minlength=len(y)).astype(float)
        y_pair, *p_pairs = ((column.values, column.ranks(times)) for column in columns)
        for j, p_pair in enumerate(p_pairs):
            for k in range(2):  # values give r, ranks give rho
                out[i, j, k] = _weighted_pearson(y_pair[k], p_pair[k], times)
    return out


def intervals(values: np.ndarray, names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Returns the 95 % interval of each column of values (count, names): name → (low, high).

    A column with an undefined value has no interval.
    """
    ends = np.quantile(values, [0.025, 0.975], axis=0).T.tolist()  # (names, 2)
    pairs = zip(names, ends, strict=True)
    return {name: (low, high) for name, (low, high) in pairs if np.isfinite(low + high)}


class _Column:
    """Values (N,), sorted once, and their ranks in a resample."""

    def __init__(self, values: np.ndarray) -> None:
        values = np.asarray(values, np.float64)
        _, self._codes = np.unique(values, return_inverse=True)
        self.values = values - values.mean()  # so that products are precise

    def ranks(self, times: np.ndarray) -> np.ndarray:
        """Returns the average ranks, (N,), of examples that occur `times` (N,) times."""
        counts = np.bincount(self._codes, times)  # (different values,)
        return (np.cumsum(counts) - (counts - 1) / 2)[self._codes]


def _weighted_pearson(a: np.ndarray, b: np.ndarray, times: np.ndarray) -> float:
    """Returns Pearson's r of examples that occur `times` (N,) times."""
    present = times > 0
    if not np.ptp(a[present]) or not np.ptp(b[present]):
        return float("nan")
    total = times.sum()
    a, b = a - times @ a / total, b - times @ b / total
    return float((times * a) @ b / np.sqrt((times * a) @ a * ((times * b) @ b)))

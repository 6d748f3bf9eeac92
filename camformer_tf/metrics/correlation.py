"""Pearson and Spearman correlation, exact, in float64."""

from __future__ import annotations

import numpy as np


def pearson(y: np.ndarray, p: np.ndarray) -> float:
    """Returns Pearson's r of two arrays (N,).

    NaN where it is undefined: N < 2, all values equal, or a value that is not finite.

    Raises:
        ValueError: the arrays are not of one shape (N,).
    """
    y, p = np.asarray(y, np.float64), np.asarray(p, np.float64)
    if y.shape != p.shape or y.ndim != 1:
        raise ValueError(f"expected two arrays of one shape (N,), found {y.shape} and {p.shape}")
    if len(y) < 2 or not (np.isfinite(y).all() and np.isfinite(p).all()):
        return float("nan")
    if (y == y[0]).all() or (p == p[0]).all():
        return float("nan")
    y, p = _center(y), _center(p)
    return float(np.clip(y @ p / np.sqrt((y @ y) * (p @ p)), -1, 1))


def _center(values: np.ndarray) -> np.ndarray:
    """Returns values of mean 0 and largest magnitude about 1, without loss of precision.

    With a large offset, the mean itself is rounded, so a second step subtracts what remains of it.
    Scaling in between prevents underflow of the squares of small values.
    """
    values = values - values.mean()
    values = values / np.abs(values).max()
    return values - values.mean()


def spearman(y: np.ndarray, p: np.ndarray) -> float:
    """Returns Spearman's rho, Pearson's r of average ranks; NaN where it is undefined."""
    y, p = np.asarray(y, np.float64), np.asarray(p, np.float64)
    if not (np.isfinite(y).all() and np.isfinite(p).all()):
        return float("nan")
    return pearson(ranks(y), ranks(p))


def ranks(values: np.ndarray) -> np.ndarray:
    """Returns ranks from 1, float64 (N,); equal values have the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    # The last rank of each different value, less half the distance to its first one.
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]

"""Pearson and Spearman correlation, exact, in float64."""

from __future__ import annotations

import numpy as np


def pearson(y: np.ndarray, p: np.ndarray) -> float:
    """Returns Pearson's r of two arrays (N,); NaN where it is undefined (N < 2, no spread, or a
    value that is not finite).
    """
    y, p = np.asarray(y, np.float64), np.asarray(p, np.float64)
    if y.shape != p.shape or y.ndim != 1:
        raise ValueError(f"expected two arrays of one shape (N,), received {y.shape} and {p.shape}")
    if len(y) < 2 or not (np.isfinite(y).all() and np.isfinite(p).all()):
        return float("nan")
    if (y == y[0]).all() or (p == p[0]).all():
        return float("nan")
    y, p = _centred(y), _centred(p)
    return float(np.clip(y @ p / np.sqrt((y @ y) * (p @ p)), -1, 1))


def _centred(values: np.ndarray) -> np.ndarray:
    """Returns values of mean 0 and largest magnitude about 1, at their spread's full precision.

    The mean itself is rounded to the digits that a large offset leaves, so what is left of it is
    taken off in a second step; in between, scaling keeps squares of tiny spreads from underflow.
    """
    values = values - values.mean()
    values = values / np.abs(values).max()
    return values - values.mean()


def spearman(y: np.ndarray, p: np.ndarray) -> float:
    """Returns Spearman's rho, Pearson's r of average ranks; NaN as for `pearson`."""
    y, p = np.asarray(y, np.float64), np.asarray(p, np.float64)
    if not (np.isfinite(y).all() and np.isfinite(p).all()):
        return float("nan")
    return pearson(ranks(y), ranks(p))


def ranks(values: np.ndarray) -> np.ndarray:
    """Returns ranks from 1, float64 (N,); equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]

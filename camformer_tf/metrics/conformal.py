"""Split-conformal intervals: from errors on examples that were held out, how far to trust others.

Source of the method: Lei et al., Distribution-free predictive inference for regression, JASA 2018,
doi:10.1080/01621459.2017.1307116, section 5.2 for errors measured in units of a spread.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Band:
    """An interval of `quantile` units on both sides of a prediction, a unit being the ensemble's
    spread plus `floor`: it holds the measured value of a new example with probability `coverage`,
    over draws of examples like those that it was made from.
    """

    coverage: float
    quantile: float
    floor: float
    n: int

    def ends(
        self, prediction: np.ndarray, spread: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns lower and upper ends, float64 (N,), of predictions (N,) with spreads (N,)."""
        half = self.quantile * (self.floor + (0.0 if spread is None else spread))
        return prediction - half, prediction + half


@dataclasses.dataclass(frozen=True)
class Coverage:
    """What part of n examples their intervals held, how wide these are on average, and between
    which measured values the examples lie.
    """

    n: int
    coverage: float
    width: float
    least: float
    most: float


def band(
    expression: np.ndarray, prediction: np.ndarray, spread: np.ndarray | None, coverage: float
) -> Band:
    """Returns the band of held-out examples, (N,) each.

    The floor is the mean spread, so that an ensemble that happens to agree is not taken to be
    certain; without spreads, all intervals are equally wide.

    Raises:
        ValueError: fewer examples than the coverage needs.
    """
    n = len(expression)
    place = math.ceil((n + 1) * coverage - 1e-9)
    if place > n:
        raise ValueError(f"{n} examples are too few for a coverage of {coverage:g}")
    floor = 1.0 if spread is None else float(np.mean(spread)) or 1.0
    unit = floor + (0.0 if spread is None else spread)
    errors = np.sort(np.abs(expression - prediction) / unit)
    return Band(coverage, float(errors[place - 1]), floor, n)


def measured(expression: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> Coverage:
    """Returns how much of examples, (N,) each, their intervals held."""
    held = (lower <= expression) & (expression <= upper)
    least, most = float(expression.min()), float(expression.max())
    return Coverage(len(expression), float(held.mean()), float((upper - lower).mean()), least, most)


def by_decile(expression: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> list[Coverage]:
    """Returns the same for each tenth of the examples by measured value, the lowest first; equal
    values stay together, so that there may be fewer.
    """
    edges = np.unique(np.quantile(expression, np.linspace(0.1, 0.9, 9)))
    tenth = np.searchsorted(edges, expression, side="left")
    return [
        measured(*(values[tenth == i] for values in (expression, lower, upper)))
        for i in np.unique(tenth)
    ]

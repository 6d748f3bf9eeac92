"""Split-conformal prediction intervals, from errors on held-out examples.

Source of the method: Lei et al., Distribution-free predictive inference for regression, JASA 2018,
doi:10.1080/01621459.2017.1307116, section 5.2 for errors measured in units of a spread.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Band:
    """The half-width of prediction intervals: quantile * (floor + spread of the ensemble).

    An interval holds the measured value of a new example with probability `coverage`, if the
    example is drawn like the held-out ones.

    Attributes:
        coverage: the nominal coverage.
        quantile: of the held-out errors, in units of floor + spread.
        floor: the part of the unit that is the same for all examples.
        n: the number of held-out examples.
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
    """The observed coverage of intervals.

    Attributes:
        n: the number of examples.
        coverage: the fraction of examples whose measured value lies in their interval.
        width: the mean width of the intervals.
        minimum: the smallest measured value.
        maximum: the largest measured value.
    """

    n: int
    coverage: float
    width: float
    minimum: float
    maximum: float


def band(
    expression: np.ndarray, prediction: np.ndarray, spread: np.ndarray | None, coverage: float
) -> Band:
    """Returns the band of held-out examples.

    The floor is the mean spread, so that an interval has a width even where the ensemble agrees by
    chance; without spreads, all intervals are equally wide.

    Args:
        expression: measured values, (N,).
        prediction: predictions, (N,).
        spread: standard deviations of the ensemble, (N,); None for a single model.
        coverage: the nominal coverage, between 0 and 1.

    Raises:
        ValueError: there are too few examples for the coverage.
    """
    n = len(expression)
    place = math.ceil((n + 1) * coverage - 1e-9)  # less rounding, so that 10 * 0.9 gives 9
    if place > n:
        raise ValueError(f"{n} examples are too few for a coverage of {coverage:g}")
    floor = 1.0 if spread is None else float(np.mean(spread)) or 1.0
    unit = floor + (0.0 if spread is None else spread)
    errors = np.sort(np.abs(expression - prediction) / unit)  # (N,)
    return Band(coverage, float(errors[place - 1]), floor, n)


def assess(expression: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> Coverage:
    """Returns the coverage of examples, by their measured values and interval ends, (N,) each."""
    is_covered = (lower <= expression) & (expression <= upper)
    return Coverage(
        len(expression),
        float(is_covered.mean()),
        float((upper - lower).mean()),
        float(expression.min()),
        float(expression.max()),
    )


def by_decile(expression: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> list[Coverage]:
    """Returns the coverage of each tenth of the examples by measured value, the lowest first.

    Equal values are in the same tenth, so that there may be fewer than ten.
    """
    edges = np.unique(np.quantile(expression, np.linspace(0.1, 0.9, 9)))
    tenth = np.searchsorted(edges, expression, side="left")  # (N,), 0..9
    return [
        assess(*(values[tenth == i] for values in (expression, lower, upper)))
        for i in np.unique(tenth)
    ]

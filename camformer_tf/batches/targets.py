"""What a training makes of its whole training set: which examples an epoch shows how often, and the
tricks that need to know all expressions, normal quantiles and tails.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from camformer_tf import errors, recipe
from camformer_tf.data import records, text

_TOGETHER = 1 << 14  # sequences hashed at a time


@dataclasses.dataclass(frozen=True)
class Quantiles:
    """A rising map from expressions to targets, float32 both: K different values, and where each
    of them goes.
    """

    values: np.ndarray
    targets: np.ndarray

    def of(self, expression: np.ndarray) -> np.ndarray:
        """Returns targets float32 (N,): between two values in proportion; beyond the first and the
        last, theirs.
        """
        return np.interp(expression, self.values, self.targets).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Tails:
    """Examples below `low` and above `high` are seen `times` times an epoch, all others once."""

    low: float
    high: float
    times: int

    def times_of(self, expression: np.ndarray) -> np.ndarray:
        """Returns how often each of N examples is seen in an epoch: int (N,)."""
        outside = (expression < self.low) | (expression > self.high)
        return np.where(outside, self.times, 1)


@dataclasses.dataclass(frozen=True)
class Seen:
    """Which examples an epoch shows how often: of a part `fraction` of the sequences, those of the
    tails several times and all others once.
    """

    tails: Tails | None = None
    fraction: float = 1.0
    seed: int = 0

    @property
    def all_once(self) -> bool:
        return self.tails is None and self.fraction == 1

    def times_of(self, examples: text.Examples) -> np.ndarray:
        """Returns how often each of N examples is seen in an epoch: int (N,)."""
        times = np.ones(len(examples.expression), int)
        if self.tails:
            times = self.tails.times_of(examples.expression)
        if self.fraction < 1:
            times = times * _within(examples.letters, self.fraction, self.seed)
        return times


@dataclasses.dataclass(frozen=True)
class Targets:
    """What the recipe's tricks do with expressions; None where it asks for nothing."""

    quantiles: Quantiles | None = None
    tails: Tails | None = None

    def validation(self, examples: text.Examples) -> text.Examples:
        """Returns examples to judge a model by: with their targets as expression, each once."""
        if self.quantiles is None:
            return examples
        return dataclasses.replace(examples, expression=self.quantiles.of(examples.expression))


def load(tricks: recipe.TricksConfig, folder: Path, split: str) -> Targets:
    """Returns what a recipe's tricks do with expressions, as those of the training split say. The
    records are read for it only if a trick needs them.

    Raises:
        errors.UserError: tails that hold nothing or everything, no such split, or shards that the
            manifest does not describe.
    """
    with_tails = tricks.tails.times > 1
    if with_tails:
        _check(tricks.tails)
    if not (tricks.quantile_targets or with_tails):
        return Targets()
    expression = records.read_expression(folder, split)
    return Targets(
        quantiles(expression) if tricks.quantile_targets else None,
        tails(tricks.tails, expression) if with_tails else None,
    )


def _within(letters: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Returns which of N sequences, uint8 (N, L), belong to a part of all: bool (N,). It depends on
    the sequence alone, and a larger part holds a smaller one.

    A multilinear hash of 64 bits, whose upper bits are independent of each other for two sequences:
    Dietzfelbinger, Universal hashing and k-wise independent random variables via integer
    arithmetic without primes, STACS 1996.
    """
    draw = np.random.default_rng(recipe.sub_seed(seed, "fraction"))
    factors = draw.integers(0, 2**64, letters.shape[1] + 1, np.uint64)
    inside = np.empty(len(letters), bool)
    for start in range(0, len(letters), _TOGETHER):
        part = letters[start : start + _TOGETHER].astype(np.uint64)
        hashed = (part @ factors[1:] + factors[0]) >> np.uint64(32)
        inside[start : start + _TOGETHER] = hashed < fraction * 2**32
    return inside


def quantiles(expression: np.ndarray) -> Quantiles:
    """Returns the map of a training set's N expressions to the normal quantiles of their ranks,
    (rank - 1/2) / N, shifted and scaled to the set's mean and standard deviation. Equal values
    share their mean rank.
    """
    from scipy import special  # here, since hardly any run needs it

    values, counts = np.unique(expression, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    normal = special.ndtri((ranks - 0.5) / len(expression))
    centre = np.average(normal, weights=counts)
    spread = np.sqrt(np.average((normal - centre) ** 2, weights=counts))
    mean, deviation = np.mean(expression, dtype=np.float64), np.std(expression, dtype=np.float64)
    scale = deviation / spread if spread else 0.0  # 0 where all expressions are equal
    return Quantiles(values, (mean + scale * (normal - centre)).astype(np.float32))


def tails(config: recipe.TailsConfig, expression: np.ndarray) -> Tails:
    """Returns the tails of a training set."""
    low, high = np.quantile(expression, [config.below, config.above])
    return Tails(float(low), float(high), config.times)


def _check(config: recipe.TailsConfig) -> None:
    if config.below >= config.above or (config.below, config.above) == (0, 1):
        raise errors.UserError(
            f"tricks.tails: below {config.below:g} and above {config.above:g} with times "
            f"{config.times}: expected two quantiles with examples beyond and between them, such "
            "as 0.05 and 0.95."
        )

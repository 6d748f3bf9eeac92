"""What a recipe's tricks derive from the whole training set: sampling, quantiles, tails."""

from __future__ import annotations

import dataclasses

import numpy as np

from camformer_tf import errors, recipe, remote
from camformer_tf.data import records, text

_CHUNK = 1 << 14  # sequences that are hashed at once


@dataclasses.dataclass(frozen=True)
class Quantiles:
    """A rising map from expressions to targets.

    Attributes:
        values: the K different expressions, ascending: float32 (K,).
        targets: what each becomes: float32 (K,).
    """

    values: np.ndarray
    targets: np.ndarray

    def apply(self, expression: np.ndarray) -> np.ndarray:
        """Returns targets, float32 (N,), of expressions, (N,): linear between two known values.

        Beyond the first and the last value, the targets are theirs.
        """
        return np.interp(expression, self.values, self.targets).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Tails:
    """Examples below `low` and above `high` are shown `times` times an epoch, others once."""

    low: float
    high: float
    times: int

    def counts(self, expression: np.ndarray) -> np.ndarray:
        """Returns how often an epoch shows each of N examples: int (N,)."""
        is_outside = (expression < self.low) | (expression > self.high)
        return np.where(is_outside, self.times, 1)


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How often an epoch shows each example: a fraction of the sequences, its tails repeatedly.

    Attributes:
        tails: the examples that are shown several times; none by default.
        fraction: the part of the sequences that is shown at all.
        seed: decides which part.
    """

    tails: Tails | None = None
    fraction: float = 1.0
    seed: int = 0

    @property
    def is_uniform(self) -> bool:
        """Whether an epoch shows each example once."""
        return self.tails is None and self.fraction == 1

    def counts(self, examples: text.Examples) -> np.ndarray:
        """Returns how often an epoch shows each of N examples: int (N,)."""
        times = np.ones(len(examples.expression), int)
        if self.tails:
            times = self.tails.counts(examples.expression)
        if self.fraction < 1:
            times = times * _is_in_part(examples.letters, self.fraction, self.seed)
        return times


@dataclasses.dataclass(frozen=True)
class Targets:
    """What a recipe's tricks do with expressions; None where it asks for nothing."""

    quantiles: Quantiles | None = None
    tails: Tails | None = None

    def validation(self, examples: text.Examples) -> text.Examples:
        """Returns examples with their targets as expression, each once, to judge a model by."""
        if self.quantiles is None:
            return examples
        return dataclasses.replace(examples, expression=self.quantiles.apply(examples.expression))


def load(tricks: recipe.TricksConfig, folder: remote.AnyPath, split: str) -> Targets:
    """Returns what a recipe's tricks do with expressions, derived from the training split.

    The records are read only if a trick needs them.

    Raises:
        errors.UserError: tails that hold nothing or everything, no such split, or shards that
            differ from the manifest.
    """
    has_tails = tricks.tails.times > 1
    if has_tails:
        _check(tricks.tails)
    if not (tricks.quantile_targets or has_tails):
        return Targets()
    expression = records.read_expression(folder, split)
    return Targets(
        quantiles(expression) if tricks.quantile_targets else None,
        tails(tricks.tails, expression) if has_tails else None,
    )


def quantiles(expression: np.ndarray) -> Quantiles:
    """Returns the map of a training set's N expressions to the normal quantiles of their ranks.

    These are (rank - 1/2) / N, shifted and scaled to the set's mean and standard deviation. Equal
    values share their mean rank.
    """
    from scipy import special  # here, since hardly any run needs it

    values, counts = np.unique(expression, return_counts=True)  # (K,) each
    ranks = np.cumsum(counts) - (counts - 1) / 2  # the mean rank of equal values, from 1
    normal = special.ndtri((ranks - 0.5) / len(expression))  # (K,)
    centre = np.average(normal, weights=counts)
    spread = np.sqrt(np.average((normal - centre) ** 2, weights=counts))
    mean, deviation = np.mean(expression, dtype=np.float64), np.std(expression, dtype=np.float64)
    scale = deviation / spread if spread else 0.0  # 0 where all expressions are equal
    return Quantiles(values, (mean + scale * (normal - centre)).astype(np.float32))


def tails(config: recipe.TailsConfig, expression: np.ndarray) -> Tails:
    """Returns the tails of a training set's expressions, (N,)."""
    low, high = np.quantile(expression, [config.below, config.above])
    return Tails(float(low), float(high), config.times)


def _is_in_part(letters: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Returns which of N sequences, uint8 (N, L), belong to a part of all: bool (N,).

    It depends on the sequence alone, and a larger part contains a smaller one. A multilinear hash
    of 64 bits, whose upper bits are independent of each other for two sequences: Dietzfelbinger,
    Universal hashing and k-wise independent random variables via integer arithmetic without primes,
    STACS 1996.
    """
    rng = np.random.default_rng(recipe.sub_seed(seed, "fraction"))
    factors = rng.integers(0, 2**64, letters.shape[1] + 1, np.uint64)  # (L + 1,)
    is_in_part = np.empty(len(letters), bool)
    for start in range(0, len(letters), _CHUNK):
        chunk = letters[start : start + _CHUNK].astype(np.uint64)  # (M, L)
        hashes = (chunk @ factors[1:] + factors[0]) >> np.uint64(32)  # (M,)
        is_in_part[start : start + _CHUNK] = hashes < fraction * 2**32
    return is_in_part


def _check(config: recipe.TailsConfig) -> None:
    if config.below >= config.above or (config.below, config.above) == (0, 1):
        raise errors.UserError(
            f"tricks.tails: below {config.below:g} and above {config.above:g} with times "
            f"{config.times}: expected two quantiles with examples beyond and between them, such "
            "as 0.05 and 0.95."
        )

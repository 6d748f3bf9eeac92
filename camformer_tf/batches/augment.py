"""Training batches as the recipe's tricks change them; validation is never changed.

The randomness of a batch is a function of the seed, the epoch, the batch's index in it and, where
workers stream records of their own, the worker. It does not depend on the batches before: an epoch
that is resumed in its middle continues unchanged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from camformer_tf import recipe
from camformer_tf.batches import channels, dataset, targets
from camformer_tf.data import sequence

SeedFor = Callable[[str], tf.Tensor]  # a use of randomness → the seed of a stateless function: (2,)

_COMPLEMENT = np.arange(256, dtype=np.uint8)
_COMPLEMENT[list(b"ACGT")] = list(b"TGCA")


def wrap(
    batches: dataset.Batches, settings: recipe.Recipe, expression_targets: targets.Targets
) -> dataset.Batches:
    """Returns batches with the recipe's tricks; the same batches if it has none.

    Sequences are shifted, then turned into their reverse complement; expressions become quantiles,
    then get noise. Weights stay. Letters get the bit `sequence.INTEGER_BIT` where the encoding has
    a channel that says whether the measured expression is a whole number.
    """
    tricks = settings.tricks
    has_integer_channel = sequence.integer_channel(settings.data.encoding) is not None
    if not (has_integer_channel or expression_targets.quantiles or tricks.target_noise
            or tricks.shift or tricks.reverse_complement):  # fmt: skip
        return batches
    lookup = None
    if expression_targets.quantiles:
        lookup = (
            tf.constant(expression_targets.quantiles.values),
            tf.constant(expression_targets.quantiles.targets),
        )

    def epoch(index: int) -> tf.data.Dataset:
        def change(batch: tf.Tensor, columns: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
            def seed_for(use: str) -> tf.Tensor:
                seed = recipe.sub_seed(settings.train.seed, f"{use}/{index}/{batches.source}")
                return tf.stack([tf.constant(seed, tf.int64), batch])

            letters, measurement, *weight = columns
            letters = _letters(letters, tricks, seed_for)
            if has_integer_channel:
                letters = channels.set_integer_bit(letters, measurement)
            return letters, _expression(measurement, tricks, lookup, seed_for), *weight

        enumeration = batches.epoch(index).enumerate()
        changes = enumeration.map(change, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return changes.prefetch(tf.data.AUTOTUNE)

    return dataclasses.replace(batches, epoch=epoch)


def shift(letters: tf.Tensor, limit: int, seed: tf.Tensor) -> tf.Tensor:
    """Returns sequences, uint8 (B, L), each shifted by up to `limit` positions either way.

    They are extended by `limit` N on both sides and cut to a random window of L letters.
    """
    count, length = letters.shape
    longer = tf.pad(letters, [[0, 0], [limit, limit]], constant_values=ord("N"))
    start = tf.random.stateless_uniform([count, 1], seed, 0, 2 * limit + 1, tf.int32, alg="philox")
    return tf.gather(longer, start + tf.range(length), axis=1, batch_dims=1)  # (B, L)


def reverse_complement(letters: tf.Tensor, share: float, seed: tf.Tensor) -> tf.Tensor:
    """Returns sequences, uint8 (B, L), each with probability `share` as its reverse complement."""
    uniform = tf.random.stateless_uniform([letters.shape[0], 1], seed, alg="philox")  # (B, 1)
    complement = tf.gather(tf.constant(_COMPLEMENT), tf.cast(letters, tf.int32))  # (B, L)
    return tf.where(uniform < share, complement[:, ::-1], letters)


def add_noise(expression: tf.Tensor, deviation: float, seed: tf.Tensor) -> tf.Tensor:
    """Returns expressions, float32 (B,), with normal noise of that standard deviation."""
    noise = tf.random.stateless_normal(expression.shape, seed, alg="philox")
    return expression + deviation * noise


def _letters(letters: tf.Tensor, tricks: recipe.TricksConfig, seed_for: SeedFor) -> tf.Tensor:
    if tricks.shift:
        letters = shift(letters, tricks.shift, seed_for("shift"))
    if tricks.reverse_complement:
        seed = seed_for("reverse complement")
        letters = reverse_complement(letters, tricks.reverse_complement, seed)
    return letters


def _expression(
    measurement: tf.Tensor,
    tricks: recipe.TricksConfig,
    lookup: tuple[tf.Tensor, tf.Tensor] | None,
    seed_for: SeedFor,
) -> tf.Tensor:
    expression = measurement  # (B,)
    if lookup:
        values, quantiles = lookup  # (K,) each
        expression = tf.gather(quantiles, tf.searchsorted(values, measurement))  # all are in it
    if tricks.target_noise:
        expression = add_noise(expression, tricks.target_noise, seed_for("target noise"))
    return expression

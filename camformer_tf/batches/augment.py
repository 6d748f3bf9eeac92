"""Training batches as the recipe's tricks change them; nothing else is ever changed.

The randomness of a batch is a function of the seed, the epoch, the batch's index in it and, where
workers stream records of their own, the worker. It knows nothing of the batches before: an epoch
that is resumed in its middle goes on unchanged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from camformer_tf import recipe
from camformer_tf.batches import dataset, targets
from camformer_tf.data import sequence

Draw = Callable[[str], tf.Tensor]  # a use of randomness → the seed of a stateless function: (2,)

_COMPLEMENT = np.arange(256, dtype=np.uint8)
_COMPLEMENT[list(b"ACGT")] = list(b"TGCA")


def wrap(
    batches: dataset.Batches, settings: recipe.Recipe, known: targets.Targets
) -> dataset.Batches:
    """Returns batches with the recipe's tricks; the same batches if there are none.

    Letters have `sequence.INTEGER_BIT` set where the measured expression is an integer, if the
    encoding has an integer channel.

    Sequences are shifted, then turned into their reverse complement; expressions become quantiles,
    then noise comes to them. Weights go along untouched.
    """
    tricks, lookup = settings.tricks, None
    marks = sequence.integer_channel(settings.data.encoding) is not None
    if not (marks or known.quantiles or tricks.target_noise or tricks.shift
            or tricks.reverse_complement):  # fmt: skip
        return batches
    if known.quantiles:
        lookup = tf.constant(known.quantiles.values), tf.constant(known.quantiles.targets)

    def epoch(index: int) -> tf.data.Dataset:
        def changed(batch: tf.Tensor, columns: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
            def draw(use: str) -> tf.Tensor:
                seed = recipe.sub_seed(settings.train.seed, f"{use}/{index}/{batches.source}")
                return tf.stack([tf.constant(seed, tf.int64), batch])

            letters, measured, *weight = columns
            letters = _letters(letters, tricks, draw)
            if marks:
                letters = _marked(letters, measured)
            return letters, _expression(measured, tricks, lookup, draw), *weight

        numbered = batches.epoch(index).enumerate()
        changing = numbered.map(changed, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return changing.prefetch(tf.data.AUTOTUNE)

    return dataclasses.replace(batches, epoch=epoch)


def shifted(letters: tf.Tensor, most: int, seed: tf.Tensor) -> tf.Tensor:
    """Returns sequences, uint8 (B, L), extended by `most` N on both sides and cut to a window of L
    letters, each at random.
    """
    count, length = letters.shape
    extended = tf.pad(letters, [[0, 0], [most, most]], constant_values=ord("N"))
    start = tf.random.stateless_uniform([count, 1], seed, 0, 2 * most + 1, tf.int32, alg="philox")
    return tf.gather(extended, start + tf.range(length), axis=1, batch_dims=1)


def turned(letters: tf.Tensor, share: float, seed: tf.Tensor) -> tf.Tensor:
    """Returns sequences, uint8 (B, L), each with probability `share` as its reverse complement."""
    chosen = tf.random.stateless_uniform([letters.shape[0], 1], seed, alg="philox") < share
    complement = tf.gather(tf.constant(_COMPLEMENT), tf.cast(letters, tf.int32))
    return tf.where(chosen, complement[:, ::-1], letters)


def noisy(expression: tf.Tensor, deviation: float, seed: tf.Tensor) -> tf.Tensor:
    """Returns expressions, float32 (B,), with normal noise of that standard deviation."""
    noise = tf.random.stateless_normal(expression.shape, seed, alg="philox")
    return expression + deviation * noise


def _letters(letters: tf.Tensor, tricks: recipe.TricksConfig, draw: Draw) -> tf.Tensor:
    if tricks.shift:
        letters = shifted(letters, tricks.shift, draw("shift"))
    if tricks.reverse_complement:
        letters = turned(letters, tricks.reverse_complement, draw("reverse complement"))
    return letters


def _expression(
    measured: tf.Tensor,
    tricks: recipe.TricksConfig,
    lookup: tuple[tf.Tensor, tf.Tensor] | None,
    draw: Draw,
) -> tf.Tensor:
    expression = measured
    if lookup:
        values, quantiles = lookup
        expression = tf.gather(quantiles, tf.searchsorted(values, measured))  # which has them all
    if tricks.target_noise:
        expression = noisy(expression, tricks.target_noise, draw("target noise"))
    return expression


def _marked(letters: tf.Tensor, measured: tf.Tensor) -> tf.Tensor:
    """Returns letters with the mark WHOLE where the measured expression is a whole number."""
    whole = (measured == tf.floor(measured))[:, None]
    return tf.where(whole, letters | tf.constant(sequence.INTEGER_BIT, tf.uint8), letters)

"""Networks as functions of letters, in batches of one size."""

from __future__ import annotations

import functools
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from camformer_tf import recipe
from camformer_tf.data import sequence
from camformer_tf.model import lookup, rescnn

Predictor = Callable[[np.ndarray], np.ndarray]  # letters uint8 (N, L) → prediction float32 (N,)


def plain(
    model: keras.Model, encoding: str, batch_size: int = recipe.PREDICT_BATCH_SIZE
) -> Predictor:
    """Returns a function that predicts with the model's weights of the moment it is called, on one
    replica whatever the strategy.
    """
    table = tf.constant(sequence.table(encoding))

    @tf.function(reduce_retracing=True)
    def forward(batch):
        return tf.reshape(model(tf.gather(table, tf.cast(batch, tf.int32)), training=False), [-1])

    return batched(forward, batch_size)


def folding(
    model: keras.Model,
    settings: recipe.Recipe,
    precision: str = "float32",
    batch_size: int = recipe.PREDICT_BATCH_SIZE,
) -> Predictor:
    """Returns a function that predicts with the weights of the moment it is called, normalisations
    folded into convolutions; on one replica whatever the strategy, and in `precision` whatever the
    model was trained in.
    """
    of_now = snapshots(model, settings, precision, batch_size)
    return lambda letters: of_now()(letters)


def snapshots(
    model: keras.Model, settings: recipe.Recipe, precision: str, batch_size: int
) -> Callable[[], Predictor]:
    """Returns a function that returns a predictor with the model's weights of that moment."""
    folded = rescnn.from_recipe(settings, precision, folded=True)
    parts = lookup.of(folded, settings) if precision == "float32" else None
    if parts:
        channels = tf.constant(sequence.table(settings.data.encoding))

        @tf.function(reduce_retracing=True)
        def forward(table, batch):
            onehot = tf.gather(channels, tf.cast(batch, tf.int32))
            found = parts.rest([onehot, parts.outputs(table, batch)], training=False)
            return tf.reshape(found, [-1])

    else:
        whole = plain(folded, settings.data.encoding, batch_size)

    def of_now() -> Predictor:
        rescnn.fold(model, folded)
        if not parts:
            return whole
        return batched(functools.partial(forward, parts.table()), batch_size)

    return of_now


def batched(forward: Callable[[tf.Tensor], tf.Tensor], batch_size: int) -> Predictor:
    """Returns `forward` over letters of any number, in batches of one size. The last is padded,
    since an odd one costs a trace, and an empty one crashes convolutions on CPU.
    """

    def predict(letters: np.ndarray) -> np.ndarray:
        size = min(batch_size, max(len(letters), 1))
        parts = []
        for start in range(0, len(letters), size):
            batch = letters[start : start + size]
            padded = np.pad(batch, [(0, size - len(batch)), (0, 0)], constant_values=ord("N"))
            parts.append(forward(tf.constant(padded)).numpy()[: len(batch)])
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    return predict

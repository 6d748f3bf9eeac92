"""Networks as functions of letters, in batches of one size."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from camformer_tf import recipe
from camformer_tf.data import sequence
from camformer_tf.model import lookup, rescnn

Predictor = Callable[[np.ndarray], np.ndarray]  # letters uint8 (N, L) → prediction float32 (N,)


def plain(
    network: keras.Model, encoding: str, batch_size: int = recipe.PREDICT_BATCH_SIZE
) -> Predictor:
    """Returns a function that predicts with the network as it is.

    It uses the weights at the time of each call, on one replica whatever the strategy.

    Args:
        network: float32 (B, L, C) → (B, 1) or (B,).
        encoding: how letters become its channels.
        batch_size: the number of sequences that are computed together.
    """
    table = tf.constant(sequence.table(encoding))  # (256, C)

    @tf.function(reduce_retracing=True)
    def forward(batch: tf.Tensor) -> tf.Tensor:
        channels = tf.gather(table, tf.cast(batch, tf.int32))  # (B, L, C)
        outputs = tf.reshape(network(channels, training=False), [-1])  # (B,)
        return tf.cast(outputs, tf.float32)

    return in_batches(forward, batch_size)


def folding(
    network: keras.Model,
    settings: recipe.Recipe,
    precision: str = "float32",
    batch_size: int = recipe.PREDICT_BATCH_SIZE,
) -> Predictor:
    """Returns a function that predicts with normalisations folded into convolutions.

    It uses the weights at the time of each call, on one replica whatever the strategy, and in
    `precision` whatever the network was trained in.

    Args:
        network: the network of the recipe.
        settings: the recipe.
        precision: the policy of the convolutions.
        batch_size: the number of sequences that are computed together.
    """
    copy = _FoldedCopy(network, settings, precision, batch_size)
    return lambda letters: copy.predictor()(letters)


def snapshot(
    network: keras.Model, settings: recipe.Recipe, precision: str, batch_size: int
) -> Predictor:
    """Returns what `folding` does, with the weights of this moment."""
    return _FoldedCopy(network, settings, precision, batch_size).predictor()


def in_batches(forward: Callable[[tf.Tensor], tf.Tensor], batch_size: int) -> Predictor:
    """Returns `forward` over letters of any number, in batches of one size.

    The last batch is padded, since an odd one costs a trace, and an empty one crashes convolutions
    on CPU.
    """

    def predict(letters: np.ndarray) -> np.ndarray:
        size = min(batch_size, max(len(letters), 1))
        parts = []
        for start in range(0, len(letters), size):
            batch = letters[start : start + size]  # (B, L), the last one smaller
            padding = [(0, size - len(batch)), (0, 0)]
            letters_or_n = np.pad(batch, padding, constant_values=ord("N"))
            parts.append(forward(tf.constant(letters_or_n)).numpy()[: len(batch)])
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    return predict


class _FoldedCopy:
    """A folded copy of a network, whose first convolutions are looked up where that is faster."""

    def __init__(
        self, network: keras.Model, settings: recipe.Recipe, precision: str, batch_size: int
    ) -> None:
        self._network, self._batch_size = network, batch_size
        self._folded_network = rescnn.from_recipe(settings, precision, is_folded=True)
        self._parts = None
        if precision == "float32":
            self._parts = lookup.split(self._folded_network, settings)
        if self._parts is None:
            encoding = settings.data.encoding
            self._whole_predictor = plain(self._folded_network, encoding, batch_size)
        else:
            self._forward = _forward_of_parts(self._parts, settings.data.encoding)

    def predictor(self) -> Predictor:
        """Returns a predictor with the network's weights of this moment."""
        rescnn.fold(self._network, self._folded_network)
        if self._parts is None:
            return self._whole_predictor
        table = self._parts.table()  # (k-mers k2, F2), of these weights
        return in_batches(lambda batch: self._forward(table, batch), self._batch_size)


def _forward_of_parts(
    parts: lookup.Lookup, encoding: str
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Returns a function of a lookup's table and letters uint8 (B, L): → float32 (B,)."""
    channels = tf.constant(sequence.table(encoding))  # (256, C)

    @tf.function(reduce_retracing=True)
    def forward(table: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
        onehot = tf.gather(channels, tf.cast(batch, tf.int32))  # (B, L, C)
        outputs = parts.tail([onehot, parts.outputs(table, batch)], training=False)
        return tf.reshape(outputs, [-1])

    return forward

"""Other flanks for every sequence: letters cut off its ends, and constant ones added there."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from camformer_tf import errors, recipe
from camformer_tf.data import sequence


@keras.saving.register_keras_serializable(package="camformer_tf")
class Flanks(keras.layers.Layer):
    """Cuts and adds letters at both ends: float32 (B, L, C) → (B, L - cut + added, C).

    Added letters have the sequence's own channel of whole numbers, where there is one.
    """

    def __init__(
        self,
        *,
        encoding: str,
        cut: tuple[int, int],
        add: tuple[str, str],
        name: str = "flanks",
        dtype: str | dict[str, Any] | keras.DTypePolicy = "float32",
        trainable: bool = True,
    ) -> None:
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.encoding, self.cut, self.add = encoding, tuple(cut), tuple(add)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Returns sequences with other ends."""
        left, right = self.cut
        middle = x[:, left : x.shape[1] - right]  # (B, L - cut, C)
        ends = [self._flank(x, letters) for letters in self.add]
        return keras.ops.concatenate([ends[0], middle, ends[1]], axis=1)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments from which Keras builds the layer again."""
        config = {"encoding": self.encoding, "cut": self.cut, "add": self.add}
        return super().get_config() | config

    def _flank(self, x: tf.Tensor, letters: str) -> tf.Tensor:
        """Returns letters for every sequence of a batch: (B, number of letters, C)."""
        rows = sequence.table(self.encoding)[np.frombuffer(letters.encode(), np.uint8)]  # (n, C)
        is_integer = np.arange(rows.shape[1]) == sequence.integer_channel(self.encoding)  # (C,)
        return keras.ops.where(is_integer, x[:, :1], keras.ops.cast(rows, x.dtype))


def layer(settings: recipe.Recipe) -> Flanks | None:
    """Returns the layer that gives sequences the recipe's flanks; None where it changes nothing.

    Raises:
        errors.UserError: nothing is left of the sequence, or other characters than letters are
            added.
    """
    flanks, length = settings.tricks.flanks, settings.data.length
    if flanks == recipe.FlanksConfig():
        return None
    if flanks.cut_left + flanks.cut_right >= length:
        raise errors.UserError(
            f"tricks.flanks: cut_left {flanks.cut_left} and cut_right {flanks.cut_right} leave "
            f"nothing of a sequence of {length} letters. Cut less."
        )
    for key in ("add_left", "add_right"):
        letters = getattr(flanks, key)
        if set(letters) - set(sequence.ALPHABET):
            raise errors.UserError(
                f"tricks.flanks.{key}: expected letters {sequence.ALPHABET}, found {letters!r}."
            )
    cut, add = (flanks.cut_left, flanks.cut_right), (flanks.add_left, flanks.add_right)
    return Flanks(encoding=settings.data.encoding, cut=cut, add=add)

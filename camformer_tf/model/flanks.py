"""Other flanks for every sequence: letters cut off its ends, and constant ones put there."""

from __future__ import annotations

import keras
import numpy as np

from camformer_tf import errors, recipe
from camformer_tf.data import sequence


@keras.saving.register_keras_serializable(package="camformer_tf")
class Flanks(keras.layers.Layer):
    """Cuts and adds letters at both ends: float32 (B, L, C) → (B, L - cut + added, C).

    Letters that are added have the sequence's own channel of whole numbers, where there is one.
    """

    def __init__(
        self,
        *,
        encoding: str,
        cut: tuple[int, int],
        add: tuple[str, str],
        name: str = "flanks",
        dtype: str | dict | keras.DTypePolicy = "float32",
        trainable: bool = True,
    ):
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.encoding, self.cut, self.add = encoding, tuple(cut), tuple(add)

    def call(self, x):
        left, right = self.cut
        kept = x[:, left : x.shape[1] - right]
        ends = [self._flank(x, letters) for letters in self.add]
        return keras.ops.concatenate([ends[0], kept, ends[1]], axis=1)

    def get_config(self) -> dict:
        own = {"encoding": self.encoding, "cut": self.cut, "add": self.add}
        return super().get_config() | own

    def _flank(self, x, letters: str):
        """Returns letters for every sequence of a batch: (B, number of letters, C)."""
        rows = sequence.table(self.encoding)[np.frombuffer(letters.encode(), np.uint8)]
        own = np.arange(rows.shape[1]) == sequence.integer_channel(self.encoding)
        return keras.ops.where(own, x[:, :1], keras.ops.cast(rows, x.dtype))


def layer(settings: recipe.Recipe) -> Flanks | None:
    """Returns the layer that gives sequences the recipe's flanks; None where it changes nothing.

    Raises:
        errors.UserError: nothing is left of the sequence, or what is added are no letters.
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

"""Letters of training batches as channels, one of which may say whether the expression is whole."""

from __future__ import annotations

import tensorflow as tf

from camformer_tf.data import sequence


def encode(letters: tf.Tensor, expression: tf.Tensor, encoding: str) -> tf.Tensor:
    """Returns letters, uint8 (B, L), as channels, float32 (B, L, C).

    Args:
        letters: ASCII codes.
        expression: measured, float32 (B,); a channel of whole numbers is 0 where it is one.
        encoding: one of `sequence.ENCODINGS`.
    """
    if sequence.integer_channel(encoding) is not None:
        letters = set_integer_bit(letters, expression)
    table = tf.constant(sequence.training_table(encoding))  # (256, C)
    return tf.gather(table, tf.cast(letters, tf.int32))  # (B, L, C)


def set_integer_bit(letters: tf.Tensor, expression: tf.Tensor) -> tf.Tensor:
    """Returns letters, uint8 (B, L), with `sequence.INTEGER_BIT` set on some of them.

    A sequence has it on all letters if its measured expression, float32 (B,), is a whole number.
    """
    is_whole = (expression == tf.floor(expression))[:, None]  # (B, 1)
    return tf.where(is_whole, letters | tf.constant(sequence.INTEGER_BIT, tf.uint8), letters)

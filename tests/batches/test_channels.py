"""Letters as channels: those of `sequence.training_table`, and the bit of whole numbers."""

import numpy as np
import pytest
import tensorflow as tf

from camformer_tf.batches import channels
from camformer_tf.data import sequence

LETTERS = np.frombuffer(b"ACGTNA", np.uint8).reshape(2, 3)
EXPRESSION = np.array([4.0, 4.5], np.float32)


def encode(encoding: str) -> np.ndarray:
    return channels.encode(tf.constant(LETTERS), tf.constant(EXPRESSION), encoding).numpy()


def test_onehot_has_a_channel_for_each_of_acgt_and_zeros_for_n():
    expected = np.stack([ord(letter) == LETTERS for letter in "ACGT"], axis=-1)
    np.testing.assert_array_equal(encode("onehot"), expected.astype(np.float32))


@pytest.mark.parametrize("encoding", sequence.ENCODINGS)
def test_channels_are_float32_of_the_width_of_the_encoding(encoding):
    array = encode(encoding)
    assert array.shape == (2, 3, sequence.channels(encoding)) and array.dtype == np.float32


def test_the_channel_of_whole_numbers_is_0_where_the_expression_is_one():
    place = sequence.integer_channel("onehot_integer")
    np.testing.assert_array_equal(encode("onehot_integer")[..., place], [[0] * 3, [1] * 3])


def test_the_bit_of_whole_numbers_leaves_the_letters_readable():
    array = channels.set_integer_bit(tf.constant(LETTERS), tf.constant(EXPRESSION)).numpy()
    np.testing.assert_array_equal(array & ~np.uint8(sequence.INTEGER_BIT), LETTERS)
    np.testing.assert_array_equal(array[1], LETTERS[1])
    assert (array[0] & sequence.INTEGER_BIT).all()

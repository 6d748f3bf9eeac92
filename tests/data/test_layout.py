"""Layouts; test_shards.py compares their bytes with those of TensorFlow."""

import numpy as np
import pytest
import tensorflow as tf

from camformer_tf.data import layout


@pytest.mark.parametrize("length", [1, 110, 128, 20_000])
@pytest.mark.parametrize("has_weight", [False, True])
def test_the_template_is_an_example_of_zeros_that_tensorflow_reads(length, has_weight):
    shape = layout.example_layout(length, has_weight=has_weight)
    features = tf.train.Example.FromString(shape.template.tobytes()).features.feature
    assert sorted(features) == ["expression", "sequence", *["weight"] * has_weight]
    assert features["sequence"].bytes_list.value[0] == bytes(length)
    assert features["expression"].float_list.value == [0.0]


def test_letters_and_numbers_are_read_from_their_places():
    shape = layout.example_layout(5, has_weight=True)
    data = shape.template.copy()
    data[shape.letters] = np.frombuffer(b"ACGTN", np.uint8)
    data[shape.expression] = np.array([1.5], "<f4").view(np.uint8)
    data[shape.weight] = np.array([0.25], "<f4").view(np.uint8)
    features = tf.train.Example.FromString(data.tobytes()).features.feature
    assert features["sequence"].bytes_list.value[0] == b"ACGTN"
    assert features["expression"].float_list.value == [1.5]
    assert features["weight"].float_list.value == [0.25]


def test_a_set_without_weights_has_no_place_for_them():
    assert layout.example_layout(110).weight is None


def test_the_places_are_those_of_the_documented_frame():
    # tfrecords/README.md: in a frame, which has 12 bytes before the data, the expression is at 35
    # to 38, the letters at 57 to 166.
    shape = layout.example_layout(110)
    assert (shape.expression.start + 12, shape.expression.stop + 11) == (35, 38)
    assert (shape.letters.start + 12, shape.letters.stop + 11) == (57, 166)
    assert len(shape.template) == 155

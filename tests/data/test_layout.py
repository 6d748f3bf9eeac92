import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from camformer_tf import errors
from camformer_tf.data import layout, text


def random_examples(count: int, length: int, seed: int = 0) -> text.Examples:
    rng = np.random.default_rng(seed)
    letters = np.frombuffer(b"ACGTN", np.uint8)[rng.integers(0, 5, (count, length))]
    return text.Examples(letters, rng.normal(11, 2, count).astype(np.float32))


def tensorflow_bytes(sequence: bytes, expression: float) -> bytes:
    """One example as TensorFlow itself serializes it."""
    feature = {
        "sequence": tf.train.Feature(bytes_list=tf.train.BytesList(value=[sequence])),
        "expression": tf.train.Feature(float_list=tf.train.FloatList(value=[expression])),
    }
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return example.SerializeToString(deterministic=True)


FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.text("ACGTN", min_size=1, max_size=300), FINITE)
def test_bytes_are_those_that_tensorflow_serializes(sequence, expression):
    letters = np.frombuffer(sequence.encode(), np.uint8)[None]
    examples = text.Examples(letters, np.array([expression], np.float32))
    rows = layout.serialize(examples, layout.of(len(sequence)))
    assert rows[0].tobytes() == tensorflow_bytes(sequence.encode(), expression)


@pytest.mark.parametrize("length", [1, 2, 4, 110, 127, 128, 300, 16_384])
def test_every_length_has_its_layout(length):
    examples = random_examples(3, length)
    rows = layout.serialize(examples, layout.of(length))
    for row, letters, value in zip(rows, examples.letters, examples.expression, strict=True):
        assert row.tobytes() == tensorflow_bytes(letters.tobytes(), value)


def test_rows_are_serialized_alike_alone_and_among_others():
    examples, shape = random_examples(9, 110), layout.of(110)
    rows = layout.serialize(examples, shape)
    for i in range(9):
        one = text.Examples(examples.letters[i : i + 1], examples.expression[i : i + 1])
        np.testing.assert_array_equal(layout.serialize(one, shape)[0], rows[i])


@given(st.integers(1, 300), st.lists(FINITE, min_size=1, max_size=9))
def test_parse_gives_back_what_was_serialized(length, values):
    made = text.Examples(random_examples(len(values), length).letters, np.float32(values))
    shape = layout.of(length)
    read = layout.parse([row.tobytes() for row in layout.serialize(made, shape)], shape, "x")
    np.testing.assert_array_equal(read.letters, made.letters)
    assert read.expression.tobytes() == made.expression.tobytes()  # -0.0 stays -0.0
    assert read.letters.dtype == np.uint8 and read.expression.dtype == np.float32


def test_no_examples_are_no_rows():
    assert layout.serialize(random_examples(0, 110), layout.of(110)).shape[0] == 0


def foreign(feature: dict[str, tf.train.Feature]) -> bytes:
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return example.SerializeToString(deterministic=True)


LETTERS = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"A" * 110]))
NUMBER = tf.train.Feature(float_list=tf.train.FloatList(value=[1.0]))
FOREIGN = {
    "another length": tensorflow_bytes(b"A" * 111, 1.0),
    "another name of the same length": foreign({"sequense": LETTERS, "expression": NUMBER}),
    "a key more": foreign({"sequence": LETTERS, "expression": NUMBER, "weight": NUMBER}),
    "a key less": foreign({"sequence": LETTERS}),
    "another kind": foreign({"sequence": LETTERS, "expression": LETTERS}),
    "no example": b"hello",
    "nothing": b"",
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_record_of_another_layout_is_refused_with_its_file(case):
    shape = layout.of(110)
    good = tensorflow_bytes(b"C" * 110, 2.0)
    for records in ([FOREIGN[case]], [good, FOREIGN[case]], [FOREIGN[case], good]):
        with pytest.raises(errors.UserError, match="my.tfrecord: holds records of another layout"):
            layout.parse(records, shape, "my.tfrecord")

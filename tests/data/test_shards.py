import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from camformer_tf import errors
from camformer_tf.data import layout, shards, text


def random_examples(count: int, length: int, seed: int = 0) -> text.Examples:
    rng = np.random.default_rng(seed)
    letters = np.frombuffer(b"ACGTN", np.uint8)[rng.integers(0, 5, (count, length))]
    return text.Examples(letters, rng.normal(11, 2, count).astype(np.float32))


def serialize(examples: text.Examples) -> list[bytes]:
    """Examples as the records of a shard."""
    shape = layout.example_layout(examples.letters.shape[1], has_weight=examples.weight is not None)
    return [row.tobytes()[12:-4] for row in shards.frames(examples, shape)]


def tensorflow_bytes(sequence: bytes, expression: float, weight: float | None = None) -> bytes:
    """One example as TensorFlow itself serializes it."""
    feature = {
        "sequence": tf.train.Feature(bytes_list=tf.train.BytesList(value=[sequence])),
        "expression": tf.train.Feature(float_list=tf.train.FloatList(value=[expression])),
    }
    if weight is not None:
        feature["weight"] = tf.train.Feature(float_list=tf.train.FloatList(value=[weight]))
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return example.SerializeToString(deterministic=True)


FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.text("ACGTN", min_size=1, max_size=300), FINITE)
def test_bytes_are_those_that_tensorflow_serializes(sequence, expression):
    letters = np.frombuffer(sequence.encode(), np.uint8)[None]
    examples = text.Examples(letters, np.array([expression], np.float32))
    assert serialize(examples) == [tensorflow_bytes(sequence.encode(), expression)]


@given(st.text("ACGTN", min_size=1, max_size=300), FINITE, FINITE)
def test_bytes_with_a_weight_are_those_that_tensorflow_serializes(sequence, expression, weight):
    letters = np.frombuffer(sequence.encode(), np.uint8)[None]
    examples = text.Examples(letters, np.float32([expression]), np.float32([weight]))
    assert serialize(examples) == [tensorflow_bytes(sequence.encode(), expression, weight)]


@pytest.mark.parametrize("length", [1, 2, 4, 110, 127, 128, 300, 16_384])
def test_every_length_has_its_layout(length):
    examples = random_examples(3, length)
    rows = serialize(examples)
    for row, letters, value in zip(rows, examples.letters, examples.expression, strict=True):
        assert row == tensorflow_bytes(letters.tobytes(), value)


def write(path, records: list[bytes]) -> bytes:
    """Writes records with TensorFlow's own writer, and returns the bytes."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path.read_bytes()


def test_frames_are_those_that_tensorflow_writes(tmp_path):
    examples = random_examples(50, 110)
    expected = write(tmp_path / "x.tfrecord", serialize(examples))
    assert shards.frames(examples, layout.example_layout(110)).tobytes() == expected


@given(st.integers(1, 300), st.lists(FINITE, min_size=1, max_size=9), st.booleans())
def test_parse_returns_the_examples_of_the_frames(length, values, has_weight):
    examples = text.Examples(
        random_examples(len(values), length).letters,
        np.float32(values),
        np.float32(values[::-1]) if has_weight else None,
    )
    shape = layout.example_layout(length, has_weight=has_weight)
    copy = shards.parse(shards.frames(examples, shape).tobytes(), shape, "x")
    np.testing.assert_array_equal(copy.letters, examples.letters)
    assert copy.expression.tobytes() == examples.expression.tobytes()  # -0.0 stays -0.0
    assert not has_weight or copy.weight.tobytes() == examples.weight.tobytes()
    assert copy.letters.dtype == np.uint8 and copy.expression.dtype == np.float32


def test_no_examples_are_no_bytes():
    shape = layout.example_layout(110)
    assert shards.frames(random_examples(0, 110), shape).size == 0
    assert len(shards.parse(b"", shape, "x").expression) == 0


@pytest.mark.parametrize("place", [0, 7, 8, 11, 12, 30, 100, 166, 167, 170])
def test_a_flipped_bit_is_found_anywhere(place):
    shape = layout.example_layout(110)
    data = bytearray(shards.frames(random_examples(5, 110), shape).tobytes())
    assert shards.record_bytes(shape) == 171
    data[3 * 171 + place] ^= 16
    with pytest.raises(errors.UserError, match="x: record 3 is damaged"):
        shards.parse(bytes(data), shape, "x")


@pytest.mark.parametrize("cut", [1, 100, 170])
def test_a_cut_shard_is_refused_with_its_record(cut):
    shape = layout.example_layout(110)
    data = shards.frames(random_examples(5, 110), shape).tobytes()
    with pytest.raises(errors.UserError, match="x: the file is cut short in record 4"):
        shards.parse(data[:-cut], shape, "x")


def foreign(feature: dict[str, tf.train.Feature]) -> bytes:
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return example.SerializeToString(deterministic=True)


LETTERS = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"A" * 110]))
NUMBER = tf.train.Feature(float_list=tf.train.FloatList(value=[1.0]))
FOREIGN = {
    "another length": tensorflow_bytes(b"A" * 111, 1.0),
    "another name of the same length": foreign({"sequense": LETTERS, "expression": NUMBER}),
    "an additional key": foreign({"sequence": LETTERS, "expression": NUMBER, "weight": NUMBER}),
    "a missing key": foreign({"sequence": LETTERS}),
    "another kind": foreign({"sequence": LETTERS, "expression": LETTERS}),
    "no example": b"hello",
    "nothing": b"",
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_record_of_another_layout_is_refused_with_its_file(case, tmp_path):
    shape = layout.example_layout(110)
    good = tensorflow_bytes(b"C" * 110, 2.0)
    for records in ([FOREIGN[case]], [good, FOREIGN[case]], [FOREIGN[case], good]):
        data = write(tmp_path / "x", records)
        with pytest.raises(errors.UserError, match="my.tfrecord: "):
            shards.parse(data, shape, "my.tfrecord")

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


def serialized(examples: text.Examples) -> list[bytes]:
    """Examples as the records of a shard."""
    shape = layout.of(examples.letters.shape[1], weighted=examples.weight is not None)
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
    assert serialized(examples) == [tensorflow_bytes(sequence.encode(), expression)]


@given(st.text("ACGTN", min_size=1, max_size=300), FINITE, FINITE)
def test_bytes_with_a_weight_are_those_that_tensorflow_serializes(sequence, expression, weight):
    letters = np.frombuffer(sequence.encode(), np.uint8)[None]
    examples = text.Examples(letters, np.float32([expression]), np.float32([weight]))
    assert serialized(examples) == [tensorflow_bytes(sequence.encode(), expression, weight)]


@pytest.mark.parametrize("length", [1, 2, 4, 110, 127, 128, 300, 16_384])
def test_every_length_has_its_layout(length):
    examples = random_examples(3, length)
    made = zip(serialized(examples), examples.letters, examples.expression, strict=True)
    for row, letters, value in made:
        assert row == tensorflow_bytes(letters.tobytes(), value)


def written(path, records: list[bytes]) -> bytes:
    """What TensorFlow's own writer makes of records."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    return path.read_bytes()


def test_frames_are_those_that_tensorflow_writes(tmp_path):
    examples = random_examples(50, 110)
    expected = written(tmp_path / "x.tfrecord", serialized(examples))
    assert shards.frames(examples, layout.of(110)).tobytes() == expected


@given(st.integers(1, 300), st.lists(FINITE, min_size=1, max_size=9), st.booleans())
def test_parse_gives_back_what_was_framed(length, values, weighted):
    made = text.Examples(
        random_examples(len(values), length).letters,
        np.float32(values),
        np.float32(values[::-1]) if weighted else None,
    )
    shape = layout.of(length, weighted=weighted)
    read = shards.parse(shards.frames(made, shape).tobytes(), shape, "x")
    np.testing.assert_array_equal(read.letters, made.letters)
    assert read.expression.tobytes() == made.expression.tobytes()  # -0.0 stays -0.0
    assert not weighted or read.weight.tobytes() == made.weight.tobytes()
    assert read.letters.dtype == np.uint8 and read.expression.dtype == np.float32


def test_no_examples_are_no_bytes():
    shape = layout.of(110)
    assert shards.frames(random_examples(0, 110), shape).size == 0
    assert len(shards.parse(b"", shape, "x").expression) == 0


@pytest.mark.parametrize("place", [0, 7, 8, 11, 12, 30, 100, 166, 167, 170])
def test_a_flipped_bit_is_found_wherever_it_is(place):
    shape = layout.of(110)
    data = bytearray(shards.frames(random_examples(5, 110), shape).tobytes())
    assert shards.record_bytes(shape) == 171
    data[3 * 171 + place] ^= 16
    with pytest.raises(errors.UserError, match="x: record 3 is damaged"):
        shards.parse(bytes(data), shape, "x")


@pytest.mark.parametrize("cut", [1, 100, 170])
def test_a_cut_shard_is_refused_with_its_record(cut):
    shape = layout.of(110)
    data = shards.frames(random_examples(5, 110), shape).tobytes()
    with pytest.raises(errors.UserError, match="x: is cut short within record 4"):
        shards.parse(data[:-cut], shape, "x")


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
def test_a_record_of_another_layout_is_refused_with_its_file(case, tmp_path):
    shape = layout.of(110)
    good = tensorflow_bytes(b"C" * 110, 2.0)
    for records in ([FOREIGN[case]], [good, FOREIGN[case]], [FOREIGN[case], good]):
        data = written(tmp_path / "x", records)
        with pytest.raises(errors.UserError, match="my.tfrecord: "):
            shards.parse(data, shape, "my.tfrecord")

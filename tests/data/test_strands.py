import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camformer_tf.data import strands

COMPLEMENT = bytes.maketrans(b"ACGTN", b"TGCAN")
LIBRARIES = st.integers(1, 150).flatmap(
    lambda length: st.lists(st.text("ACGTN", min_size=length, max_size=length), min_size=1)
)


def as_letters(rows: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1)


def unpack(words: np.ndarray, columns: strands.Columns) -> list[bytes]:
    """The cores, by the planes that the module documents: A 0, C 1, T 2, G 3, N 7."""
    codes = strands.codes(words, np.arange(columns.width), columns)
    return [bytes(b"ACTG   N"[code] for code in row) for row in codes]


@given(LIBRARIES)
def test_both_strands_unpack_as_the_core_and_its_reverse_complement(library):
    rows = [row.encode() for row in library]
    sequences = strands.pack_library(as_letters(rows))
    cores = [row[sequences.columns.core] for row in rows]
    assert unpack(sequences.words[: len(rows)], sequences.columns) == cores
    reverse = [core.translate(COMPLEMENT)[::-1] for core in cores]
    assert unpack(sequences.words[len(rows) :], sequences.columns) == reverse


@given(LIBRARIES, st.data())
def test_the_distance_is_the_number_of_letters_that_differ(library, data):
    rows = [row.encode() for row in library]
    sequences = strands.pack_library(as_letters(rows))
    a, b = (data.draw(st.integers(0, len(rows) - 1)) for _ in range(2))
    core = sequences.columns.core
    expected = sum(x != y for x, y in zip(rows[a][core], rows[b][core], strict=True))
    words = sequences.words
    assert strands.distance(words[a], words[b], sequences.columns.planes) == expected


@given(LIBRARIES, st.data())
def test_rows_that_agree_in_some_places_have_one_key(library, data):
    sequences = strands.pack_library(as_letters([row.encode() for row in library]))
    columns, everywhere = sequences.columns, np.arange(sequences.columns.width)
    places = np.array(data.draw(st.lists(st.sampled_from(everywhere), unique=True)), int)
    keys = strands.keys(sequences.words, places, columns)
    codes = strands.codes(sequences.words, places, columns)
    is_equal = (codes[:, None] == codes).all(axis=2)
    np.testing.assert_array_equal(keys[:, None] == keys, is_equal)  # 64 bits do not collide here


@given(LIBRARIES)
def test_letters_are_counted_by_column(library):
    letters = as_letters([row.encode() for row in library])
    expected = [(letters == ord(letter)).sum(axis=0) for letter in "ACGTN"]
    np.testing.assert_array_equal(
        strands.count(np.tile(letters, (300, 1))), 300 * np.array(expected)
    )


def test_packing_block_by_block_makes_no_difference():
    letters = np.random.default_rng(0).choice(np.frombuffer(b"ACGT", np.uint8), (500, 110))
    library = strands.pack_library(letters)
    cut = strands.pack(np.split(letters, [3, 3, 200]), 500, library.columns)
    np.testing.assert_array_equal(cut.words, library.words)
    np.testing.assert_array_equal(cut.flanks, library.flanks)


def test_other_letters_are_refused():
    with pytest.raises(ValueError, match="b'x'"):
        strands.count(as_letters([b"ACGT", b"ACxT"]))


def test_parts_are_joined_with_all_forward_strands_first():
    letters = np.random.default_rng(1).choice(np.frombuffer(b"ACGT", np.uint8), (500, 110))
    library = strands.pack_library(letters)
    parts = [strands.pack([part], len(part), library.columns) for part in np.split(letters, [7])]
    joint = strands.join(parts)
    np.testing.assert_array_equal(joint.words, library.words)
    np.testing.assert_array_equal(joint.flanks, library.flanks)

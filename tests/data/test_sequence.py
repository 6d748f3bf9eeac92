import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camformer_tf import recipe
from camformer_tf.data import sequence

# base/utils.py:215-320, Bornelov-lab/Camformer@feaa529: onehot, onehotWithN, onehotWithP,
# onehotWithInt and onehotWithBoth, the last two with r = 1, as everywhere except in training
GOLDEN = {
    "onehot": {
        "A": [1, 0, 0, 0],
        "C": [0, 1, 0, 0],
        "G": [0, 0, 1, 0],
        "T": [0, 0, 0, 1],
        "N": [0, 0, 0, 0],
    },
    "onehot_n": {
        "A": [1, 0, 0, 0],
        "C": [0, 1, 0, 0],
        "G": [0, 0, 1, 0],
        "T": [0, 0, 0, 1],
        "N": [0.25, 0.25, 0.25, 0.25],
    },
    "onehot_purine": {
        "A": [1, 0, 0, 0, 1],
        "C": [0, 1, 0, 0, 0],
        "G": [0, 0, 1, 0, 1],
        "T": [0, 0, 0, 1, 0],
        "N": [0.25, 0.25, 0.25, 0.25, 0.5],
    },
    "onehot_integer": {
        "A": [1, 0, 0, 0, 1],
        "C": [0, 1, 0, 0, 1],
        "G": [0, 0, 1, 0, 1],
        "T": [0, 0, 0, 1, 1],
        "N": [0.25, 0.25, 0.25, 0.25, 1],
    },
    "onehot_integer_purine": {
        "A": [1, 0, 0, 0, 1, 1],
        "C": [0, 1, 0, 0, 1, 0],
        "G": [0, 0, 1, 0, 1, 1],
        "T": [0, 0, 0, 1, 1, 0],
        "N": [0.25, 0.25, 0.25, 0.25, 1, 0.5],
    },
}
encodings = pytest.mark.parametrize("encoding", sequence.ENCODINGS)


def sets(letters: str = "ACGTN"):
    """Lists of sequences of one length."""
    row = st.integers(1, 30).map(lambda n: st.text(letters, min_size=n, max_size=n))
    return row.flatmap(lambda rows: st.lists(rows, min_size=1, max_size=9))


@pytest.mark.parametrize("letter", "ACGTN")
@encodings
def test_a_letter_of_either_case_becomes_the_published_channels(encoding, letter):
    channels = sequence.encode([letter + letter.lower()], encoding)
    assert channels.tolist() == [[GOLDEN[encoding][letter]] * 2]


@encodings
def test_a_byte_that_is_not_a_letter_is_encoded_as_n(encoding):
    table = sequence.table(encoding)
    non_letters = [byte for byte in range(256) if chr(byte) not in "ACGTNacgtn"]
    assert len(non_letters) == 246 and (table[non_letters] == GOLDEN[encoding]["N"]).all()


@encodings
def test_the_table_has_a_row_for_every_byte(encoding):
    table = sequence.table(encoding)
    assert table.shape == (256, sequence.channels(encoding)) and table.dtype == np.float32


@encodings
def test_letters_with_the_integer_bit_differ_in_the_integer_channel_alone(encoding):
    table, training = sequence.table(encoding), sequence.training_table(encoding)
    np.testing.assert_array_equal(training[:128], table[:128])
    with_bit = training[np.array(list(b"ACGTN")) | sequence.INTEGER_BIT]
    expected = np.float32(list(GOLDEN[encoding].values()))
    if encoding in ("onehot_integer", "onehot_integer_purine"):
        expected[:, 4] = 0
    np.testing.assert_array_equal(with_bit, expected)


def test_a_recipe_may_name_every_encoding_and_no_other():
    assert recipe.choices(recipe.DataConfig, "encoding") == sequence.ENCODINGS == tuple(GOLDEN)


def test_onehot_is_the_default_of_recipes_and_of_encode():
    assert recipe.DataConfig.encoding == "onehot"
    np.testing.assert_array_equal(sequence.encode(["ACGTN"]), sequence.encode(["ACGTN"], "onehot"))


@encodings
def test_sequences_become_float32_with_the_channels_last(encoding):
    channels = sequence.encode(["ACGTN" * 22] * 3, encoding)
    assert channels.shape == (3, 110, len(GOLDEN[encoding]["A"])) and channels.dtype == np.float32


@pytest.mark.parametrize("encoding", ["onehotWithN", "", "ONEHOT"])
def test_an_encoding_of_another_name_is_refused(encoding):
    with pytest.raises(KeyError):
        sequence.encode(["ACGT"], encoding)


@encodings
@given(rows=sets())
def test_every_letter_is_encoded_as_by_a_plain_lookup(encoding, rows):
    plain = [[GOLDEN[encoding][letter] for letter in row] for row in rows]
    np.testing.assert_array_equal(sequence.encode(rows, encoding), np.float32(plain))


def test_letters_are_ascii_upper_case():
    letters = sequence.letters(["ACGTN", "acgtn"])
    assert letters.tolist() == [[65, 67, 71, 84, 78]] * 2 and letters.dtype == np.uint8


@pytest.mark.parametrize(
    "rows, message",
    [
        (["ACG", "AC"], r"one length, received lengths \[2, 3\]"),
        ([], r"one length, received lengths \[\]"),
        (["ACGX"], r"letters ACGTN, received \['X'\]"),
        (["AC G", "ACGU"], r"letters ACGTN, received \[' ', 'U'\]"),
        (["ACG\u0422"], "received"),  # a Cyrillic T
        (["\u00df"], "received"),  # one letter that becomes two in upper case
    ],
)
def test_strings_that_are_not_sequences_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        sequence.letters(rows)


@given(sets("ACGTNacgtn"))
def test_text_gives_letters_back_in_upper_case(rows):
    assert sequence.text(sequence.letters(rows)) == [row.upper() for row in rows]


@given(sets(), st.integers(1, 3))
def test_text_reads_letters_of_any_layout_in_memory(rows, step):
    letters = np.asfortranarray(sequence.letters(rows))[::step]
    assert sequence.text(letters) == rows[::step]


def test_text_of_no_letters_is_no_text():
    assert sequence.text(np.empty((0, 110), np.uint8)) == []

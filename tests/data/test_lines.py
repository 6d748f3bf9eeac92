import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from camformer_tf.data import lines

# Bytes of texts, and some that are not in texts: the forms that a parser may read wrongly.
BLOCKS = st.lists(
    st.sampled_from([bytes([b]) for b in b"ACGTNacgtnX\t \n\r\v.0123456789-+e\xff\0"])
)


def plain(block: bytes) -> list[tuple[int, list[bytes]]]:
    """The lines that are not blank, by Python's own split."""
    return [(i, line.split()) for i, line in enumerate(block.split(b"\n")) if line.split()]


def pairs(block: bytes):
    """The fields of lines of two: as Python splits them, and as `fields` finds them."""
    fields = lines.fields(block, 2)
    two = fields.columns == 2
    expected = [words for _, words in plain(block) if len(words) == 2]
    return expected, fields.data, fields.starts[two].T, fields.ends[two].T


@given(BLOCKS.map(b"".join))
def test_lines_and_fields_are_those_that_python_splits(block):
    fields = lines.fields(block, 2)
    assert list(zip(fields.number.tolist(), fields.columns.tolist(), strict=True)) == [
        (number, len(words)) for number, words in plain(block)
    ]
    expected, _, starts, ends = pairs(block)
    slices = [
        [block[s:e] for s, e in zip(*ab, strict=True)] for ab in zip(starts.T, ends.T, strict=True)
    ]
    assert slices == expected


@given(BLOCKS.map(b"".join))
def test_letters_are_distinguished_from_other_bytes_and_n_are_counted(block):
    expected, data, starts, ends = pairs(block)
    only, count = lines.letters(data, starts[0], ends[0])
    for i, (field, _) in enumerate(expected):
        assert only[i] == (not field.translate(None, b"ACGTNacgtn"))
        assert not only[i] or count[i] == field.upper().count(b"N")


@given(BLOCKS.map(b"".join), st.integers(1, 9))
def test_sequences_are_cut_and_padded_in_upper_case(block, length):
    expected, data, starts, ends = pairs(block)
    only, _ = lines.letters(data, starts[0], ends[0])
    sequences = lines.fit(data, starts[0], ends[0], length)
    assert sequences.shape == (len(expected), length)
    for i, (field, _) in enumerate(expected):
        if only[i]:
            assert sequences[i].tobytes() == field.upper()[:length].ljust(length, b"N")


NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(10**17), 10**17).map(str),
    st.decimals(-20, 20, places=13).map(str),
    st.text("0123456789.+-eE", min_size=1, max_size=30),
)


@given(st.lists(NUMBERS, min_size=1))
def test_a_readable_number_is_the_one_that_float_returns(texts):
    _, data, starts, ends = pairs("".join(f"A {text}\n" for text in texts).encode())
    values, readable = lines.numbers(data, starts[1], ends[1])
    for text, value, is_readable in zip(texts, values, readable, strict=True):
        if is_readable:
            assert value == float(text) and np.signbit(value) == np.signbit(float(text))
        else:  # an exponent, too many digits for float64 or int64, or not a number of this form
            form = re.fullmatch(r"[+-]?(?=\.?\d)\d*\.?\d*", text)
            digits = re.sub(r"\D", "", text)
            assert not form or len(digits) > 18 or int(digits) > 2**53

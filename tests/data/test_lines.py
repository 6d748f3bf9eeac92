import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from camformer_tf.data import lines

# Bytes that a text is made of, and some that it is not: the shapes that a parser may stumble on.
BLOCKS = st.lists(
    st.sampled_from([bytes([b]) for b in b"ACGTNacgtnX\t \n\r\v.0123456789-+e\xff\0"])
)


def plain(block: bytes) -> list[tuple[int, list[bytes]]]:
    """The lines that are not blank, by Python's own split."""
    return [(i, line.split()) for i, line in enumerate(block.split(b"\n")) if line.split()]


def pairs(block: bytes):
    """The fields of lines of two: as Python splits them, and as `rows` finds them."""
    rows = lines.rows(block, 2)
    two = rows.columns == 2
    found = [fields for _, fields in plain(block) if len(fields) == 2]
    return found, rows.data, rows.starts[two].T, rows.ends[two].T


@given(BLOCKS.map(b"".join))
def test_lines_and_fields_are_those_that_python_splits(block):
    rows = lines.rows(block, 2)
    assert list(zip(rows.number.tolist(), rows.columns.tolist(), strict=True)) == [
        (number, len(fields)) for number, fields in plain(block)
    ]
    found, _, starts, ends = pairs(block)
    taken = [
        [block[s:e] for s, e in zip(*ab, strict=True)] for ab in zip(starts.T, ends.T, strict=True)
    ]
    assert taken == found


@given(BLOCKS.map(b"".join))
def test_letters_are_told_from_anything_else_and_n_are_counted(block):
    found, data, starts, ends = pairs(block)
    only, count = lines.letters(data, starts[0], ends[0])
    for i, (field, _) in enumerate(found):
        assert only[i] == (not field.translate(None, b"ACGTNacgtn"))
        assert not only[i] or count[i] == field.upper().count(b"N")


@given(BLOCKS.map(b"".join), st.integers(1, 9))
def test_sequences_are_cut_and_padded_in_upper_case(block, length):
    found, data, starts, ends = pairs(block)
    only, _ = lines.letters(data, starts[0], ends[0])
    fitted = lines.fitted(data, starts[0], ends[0], length)
    assert fitted.shape == (len(found), length)
    for i, (field, _) in enumerate(found):
        if only[i]:
            assert fitted[i].tobytes() == field.upper()[:length].ljust(length, b"N")


NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(10**17), 10**17).map(str),
    st.decimals(-20, 20, places=13).map(str),
    st.text("0123456789.+-eE", min_size=1, max_size=30),
)


@given(st.lists(NUMBERS, min_size=1))
def test_a_number_that_is_understood_is_what_float_makes_of_it(texts):
    _, data, starts, ends = pairs("".join(f"A {text}\n" for text in texts).encode())
    values, understood = lines.numbers(data, starts[1], ends[1])
    for text, value, known in zip(texts, values, understood, strict=True):
        if known:
            assert value == float(text) and np.signbit(value) == np.signbit(float(text))
        else:  # an exponent, too many digits for float64 or int64, or no number of this form
            form = re.fullmatch(r"[+-]?(?=\.?\d)\d*\.?\d*", text)
            digits = re.sub(r"\D", "", text)
            assert not form or len(digits) > 18 or int(digits) > 2**53

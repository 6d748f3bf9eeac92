"""A block of text as arrays: where its fields are, and the numbers and sequences in them."""

from __future__ import annotations

import dataclasses

import numpy as np

_UPPER = np.uint8(0xDF)  # the mask that makes an ASCII letter upper case

_DIGITS = 18  # of a number that int64 holds
_EXACT = 1 << 53  # float64 holds every integer up to this one
_TENS = 10.0 ** np.arange(_DIGITS + 1)  # exact in float64
_WIDTH = 24  # bytes of a field that are read as a number: three words of eight
_FIELD_MASKS = np.tri(_WIDTH + 1, _WIDTH, -1, dtype=bool)  # row s: the bytes of a field of size s


@dataclasses.dataclass(frozen=True)
class Fields:
    """The fields of R lines that are not blank.

    Attributes:
        data: uint8 (B,), the block of text.
        number: (R,), the number of each line in the block, from 0.
        columns: (R,), how many fields each line has.
        starts: (R, C), where the first C fields begin in `data`. In a line that does not have
            exactly C fields, all C places are those of its first field.
        ends: (R, C), where they end.
        last: (R,), where the last field of each line ends.
    """

    data: np.ndarray
    number: np.ndarray
    columns: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    last: np.ndarray


def fields(block: bytes, columns: int) -> Fields:
    """Returns where the fields of a block of whole lines are, for lines of `columns` fields."""
    data = np.frombuffer(block, np.uint8)  # (B,)
    # Few bytes are this low, so the exact test of white space is applied to these alone: what
    # bytes.split() splits at is the space and the codes 9 to 13.
    spaces = np.flatnonzero(data <= ord(" "))
    spaces = spaces[(data[spaces] == ord(" ")) | (data[spaces] - np.uint8(9) < 5)]
    bounds = np.concatenate([[-1], spaces, [len(data)]])
    field = np.flatnonzero(np.diff(bounds) > 1)  # (F,): gaps between white space with a byte inside
    starts, ends = bounds[field] + 1, bounds[field + 1]  # (F,)
    line = np.cumsum(np.concatenate([[False], data[spaces] == ord("\n")]))[field]  # (F,)
    first = np.flatnonzero(np.diff(line, prepend=-1))  # (R,): the first field of each line
    stop = np.append(first, len(starts))[1:]  # (R,)
    count = stop - first
    place = first + np.arange(columns)[:, None] * (count == columns)  # (C, R)
    return Fields(data, line[first], count, starts[place].T, ends[place].T, ends[stop - 1])


def letters(
    data: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns whether each field has only the letters ACGTN, and how many of them are N.

    Either case counts. The number of N is right only for fields that have no other letter.

    Returns:
        bool (N,) and int64 (N,).
    """
    if not len(starts):
        return np.zeros(0, bool), np.zeros(0, np.int64)
    upper = data & _UPPER
    not_acgt = (upper != ord("A")) & (upper != ord("C")) & (upper != ord("G")) & (upper != ord("T"))
    # (B,): 0 for ACGT, 1 for N, 2 for any other byte
    kind = not_acgt.view(np.uint8) + (not_acgt & (upper != ord("N")))
    bounds = np.stack([starts, np.minimum(ends, len(data) - 1)], axis=1).ravel()  # (2N,)
    worst = np.maximum.reduceat(kind, bounds)[::2]  # (N,): every second span is a field
    # A field that ends with the data has its last byte beyond its bound: include that byte too.
    worst = np.where(ends == len(data), np.maximum(worst, kind[-1]), worst)
    count = np.zeros(len(starts), np.int64)
    for i in np.flatnonzero(worst == 1).tolist():  # few
        count[i] = np.count_nonzero(kind[starts[i] : ends[i]])
    return worst < 2, count


def fit(data: np.ndarray, starts: np.ndarray, ends: np.ndarray, length: int) -> np.ndarray:
    """Returns fields in upper case, uint8 (N, length), cut or padded with N on the right."""
    bytes_and_tail = np.concatenate(
        [data, np.zeros(length, np.uint8)]
    )  # so that every window is whole
    windows = np.lib.stride_tricks.sliding_window_view(bytes_and_tail, length)  # (B + 1, length)
    sequences = windows[starts] & _UPPER  # (N, length)
    short = np.flatnonzero(ends - starts < length)
    mask = np.arange(length) < (ends - starts)[short, None]  # (short, length)
    sequences[short] = np.where(mask, sequences[short], np.uint8(ord("N")))
    return sequences


def numbers(
    data: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the numbers in fields, and which fields this function can read.

    It reads an optional sign and at most 18 digits with at most one point among them, if they make
    an integer of at most 2**53. Then both that integer and the power of ten that divides it are
    exact in float64, so that the quotient is the float64 nearest to the text, as Python's float()
    returns it.

    Returns:
        float64 (N,) and bool (N,).
    """
    bytes_and_tail = np.concatenate([data, np.zeros(_WIDTH, np.uint8)])
    text = np.lib.stride_tricks.sliding_window_view(bytes_and_tail, _WIDTH)[starts]  # (N, 24)
    size = np.minimum(ends - starts, _WIDTH)
    mask = _FIELD_MASKS.take(size, axis=0)  # (N, 24)
    digit = mask & (text - np.uint8(ord("0")) < 10)
    point = mask & (text == ord("."))
    negative = text[:, 0] == ord("-")  # (N,)
    has_sign = negative | (text[:, 0] == ord("+"))
    unknown = mask ^ digit ^ point  # (N, 24): bytes that are neither digit nor point
    unknown[:, 0] &= ~has_sign
    row, place = np.divmod(np.flatnonzero(point), _WIDTH)
    points, decimals = np.bincount(row, minlength=len(starts)), np.zeros(len(starts), np.int64)
    decimals[row] = size[row] - 1 - place
    digits, integer = size - has_sign - points, _integers(text - np.uint8(ord("0")), digit)
    readable = (points <= 1) & (digits > 0) & (digits <= _DIGITS) & (integer <= _EXACT)
    readable[np.flatnonzero(unknown) // _WIDTH] = False
    values = integer / _TENS[np.minimum(decimals, _DIGITS)]
    return np.where(negative, -values, values), readable


def _integers(values: np.ndarray, digit: np.ndarray) -> np.ndarray:
    """Returns the integers that digits make: uint8 (N, 24), bool (N, 24) → uint64 (N,).

    Neighbours are joined, then neighbours among the results, until a word holds eight digits. Each
    number has beside it the power of ten by which the number to its left is multiplied.
    """
    values, tens = values * digit, np.uint8(1) + np.uint8(9) * digit
    for word, bits in (("<u2", 8), ("<u4", 16), ("<u8", 32)):  # (N, 12), (N, 6), (N, 3)
        values, tens, low = values.view(word), tens.view(word), (1 << bits) - 1
        values = (values & low) * (tens >> bits) + (values >> bits)
        tens = (tens & low) * (tens >> bits)
    first, second, third = values.T  # (N,) each
    return (first * tens[:, 1] + second) * tens[:, 2] + third

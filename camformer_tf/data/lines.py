"""A block of text as arrays: where its fields are, and the numbers and sequences in them."""

from __future__ import annotations

import dataclasses

import numpy as np

_UPPER = np.uint8(0xDF)  # the mask that makes an ASCII letter upper case

_DIGITS = 18  # of a number that int64 holds
_EXACT = 1 << 53  # float64 holds every integer up to this one
_TENS = 10.0 ** np.arange(_DIGITS + 1)  # exact in float64
_WIDTH = 24  # bytes of a field that are looked at for a number: three words
_INSIDE = np.tri(_WIDTH + 1, _WIDTH, -1, dtype=bool)  # the bytes of a field, by its size


@dataclasses.dataclass(frozen=True)
class Rows:
    """The lines of a block that are not blank.

    `number` (R,) is the line of each, from 0; `columns` (R,) its fields; `starts` and `ends` (R, C)
    where its first C fields lie in `data`, uint8 (B,), for lines of exactly C fields (others: C
    times the first); `last` (R,) where its last field ends.
    """

    data: np.ndarray
    number: np.ndarray
    columns: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    last: np.ndarray


def rows(block: bytes, columns: int) -> Rows:
    """Returns where the fields of a block of whole lines are, for lines of `columns` fields."""
    data = np.frombuffer(block, np.uint8)
    low = np.flatnonzero(data <= ord(" "))  # few: what bytes.split() splits at, and control bytes
    low = low[(data[low] == ord(" ")) | (data[low] - np.uint8(9) < 5)]
    bounds = np.concatenate([[-1], low, [len(data)]])
    field = np.flatnonzero(np.diff(bounds) > 1)
    starts, ends = bounds[field] + 1, bounds[field + 1]
    line = np.cumsum(np.concatenate([[False], data[low] == ord("\n")]))[field]
    first = np.flatnonzero(np.diff(line, prepend=-1))
    after = np.append(first, len(starts))[1:]
    found = after - first
    place = first + np.arange(columns)[:, None] * (found == columns)
    return Rows(data, line[first], found, starts[place].T, ends[place].T, ends[after - 1])


def letters(
    data: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns for each field, (N,): whether it has only letters ACGTN of either case, and how many
    of them are N (for those that have).
    """
    if not len(starts):
        return np.zeros(0, bool), np.zeros(0, np.int64)
    upper = data & _UPPER
    other = (upper != ord("A")) & (upper != ord("C")) & (upper != ord("G")) & (upper != ord("T"))
    kind = other.view(np.uint8) + (other & (upper != ord("N")))  # 0 for ACGT, 1 for N, 2 for others
    bounds = np.stack([starts, np.minimum(ends, len(data) - 1)], axis=1).ravel()
    worst = np.maximum.reduceat(kind, bounds)[::2]
    # A field that ends with the data has its last byte beyond its bound; look at that one too.
    worst = np.where(ends == len(data), np.maximum(worst, kind[-1]), worst)
    count = np.zeros(len(starts), np.int64)
    for i in np.flatnonzero(worst == 1).tolist():  # few
        count[i] = np.count_nonzero(kind[starts[i] : ends[i]])
    return worst < 2, count


def fitted(data: np.ndarray, starts: np.ndarray, ends: np.ndarray, length: int) -> np.ndarray:
    """Returns fields in upper case, uint8 (N, length), cut or padded with N on the right."""
    padded = np.concatenate([data, np.zeros(length, np.uint8)])
    taken = np.lib.stride_tricks.sliding_window_view(padded, length)[starts] & _UPPER
    short = np.flatnonzero(ends - starts < length)
    inside = np.arange(length) < (ends - starts)[short, None]
    taken[short] = np.where(inside, taken[short], np.uint8(ord("N")))
    return taken


def numbers(
    data: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the numbers in fields, float64 (N,), and which fields were understood, bool (N,).

    Understood are an optional sign and at most 18 digits with at most one point among them, if they
    make an integer of at most 2**53. Then both that integer and the power of ten that divides it
    are exact in float64, so that the quotient is the one nearest to the text: what Python's float()
    gives.
    """
    padded = np.concatenate([data, np.zeros(_WIDTH, np.uint8)])
    text = np.lib.stride_tricks.sliding_window_view(padded, _WIDTH)[starts]
    size = np.minimum(ends - starts, _WIDTH)
    inside = _INSIDE.take(size, axis=0)
    digit = inside & (text - np.uint8(ord("0")) < 10)
    point = inside & (text == ord("."))
    negative = text[:, 0] == ord("-")
    signed = negative | (text[:, 0] == ord("+"))
    other = inside ^ digit ^ point
    other[:, 0] &= ~signed
    row, place = np.divmod(np.flatnonzero(point), _WIDTH)
    points, decimals = np.bincount(row, minlength=len(starts)), np.zeros(len(starts), np.int64)
    decimals[row] = size[row] - 1 - place
    digits, whole = size - signed - points, _integers(text - np.uint8(ord("0")), digit)
    understood = (points <= 1) & (digits > 0) & (digits <= _DIGITS) & (whole <= _EXACT)
    understood[np.flatnonzero(other) // _WIDTH] = False
    values = whole / _TENS[np.minimum(decimals, _DIGITS)]
    return np.where(negative, -values, values), understood


def _integers(values: np.ndarray, digit: np.ndarray) -> np.ndarray:
    """Returns the integers that digits make: uint8 (N, 24), bool (N, 24) → uint64 (N,).

    Neighbours are joined, and what comes of that, until a word holds eight: each number beside the
    power of ten by which what stands to its left is to be multiplied.
    """
    values, tens = values * digit, np.uint8(1) + np.uint8(9) * digit
    for word, bits in (("<u2", 8), ("<u4", 16), ("<u8", 32)):
        values, tens, left = values.view(word), tens.view(word), (1 << bits) - 1
        values = (values & left) * (tens >> bits) + (values >> bits)
        tens = (tens & left) * (tens >> bits)
    (first, second, third), (_, *tens) = values.T, tens.T
    return (first * tens[0] + second) * tens[1] + third

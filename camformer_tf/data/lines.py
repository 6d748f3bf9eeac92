"""A block of text as arrays: where its fields are, and the numbers and sequences in them."""

from __future__ import annotations

import dataclasses

import numpy as np

_UPPER = np.uint8(0xDF)  # the mask that makes an ASCII letter upper case

_DIGITS = 18  # of a number that int64 holds
_EXACT = 1 << 53  # float64 holds every integer up to this one
_TENS = 10.0 ** np.arange(_DIGITS + 1)  # exact in float64


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
    of them are N (for those that have)."""
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
    size = ends - starts
    understood = size <= _DIGITS + 2
    whole = np.zeros(len(starts), np.int64)
    digits, decimals = np.zeros((2, len(starts)), np.int8)
    point, negative = np.zeros((2, len(starts)), bool)
    for column in range(min(int(size.max(initial=0)), _DIGITS + 2)):
        byte = data[np.minimum(starts + column, len(data) - 1)]
        inside = column < size
        digit = inside & (byte - np.uint8(ord("0")) < 10)
        is_point = inside & (byte == ord(".")) & ~point
        good = digit | is_point | ~inside
        if column == 0:
            negative = byte == ord("-")
            good |= negative | (byte == ord("+"))
        understood &= good
        whole = np.where(digit, whole * 10 + (byte - np.uint8(ord("0"))), whole)
        digits += digit
        decimals += digit & point
        point |= is_point
    understood &= (digits > 0) & (digits <= _DIGITS) & (whole <= _EXACT)
    values = whole / _TENS[np.minimum(decimals, _DIGITS)]
    return np.where(negative, -values, values), understood

"""Both strands of many sequences as packed bits, in which they are compared.

The core is what lies between the library's fixed flanks, which would otherwise keep any two strands
apart. Of the reverse strand only the core is packed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from camformer_tf.data import sequence, splits

# A column of a flank has one letter in this share of the library. Not higher: 17 % of real training
# rows are not 110 nt long, which shifts their suffix (6,238 kept rows of data/demo_train.txt of
# de-Boer-Lab/random-promoter-dream-challenge-2022@f7b2e19).
_CONSTANT = 0.75
_SHORTEST_CORE = 20  # letters; where less would be left, nothing counts as a flank
_SIDE = 32  # sequences laid side by side to be counted: wide rows are quickly summed
_CHUNK = 1 << 13  # sequences packed or hashed at a time: what bounds the memory

# The letters' ASCII codes tell themselves apart in three bits, the planes:
# A 000, C 001, G 011, T 010, N 111. Without N two are enough, and bit 1 makes the complement.
_PLANES = (2, 4, 8)


@dataclasses.dataclass(frozen=True)
class Columns:
    """Which columns of a library are compared: its core, the others that vary, and the bits that a
    letter takes: 2, or 3 in a library with N.
    """

    core: slice
    outer: np.ndarray
    planes: int

    @property
    def width(self) -> int:
        """How many letters the core has."""
        return self.core.stop - self.core.start


@dataclasses.dataclass(frozen=True)
class Strands:
    """N sequences, packed.

    words: rows 0..N-1 the cores, row N + i the reverse complement of core i: uint64 (2N, planes *
        words), bit 0 of every letter first, then bit 1, then for libraries with N bit 2.
    flanks: the same of the outer columns: uint64 (N, …).
    """

    columns: Columns
    words: np.ndarray
    flanks: np.ndarray


def of(letters: np.ndarray) -> Strands:
    """Returns a whole library, packed: letters uint8 (N, L), ASCII upper case ACGTN."""
    return pack([letters], len(letters), columns(count(letters), len(letters)))


def count(letters: np.ndarray) -> np.ndarray:
    """Returns how often each of ACGTN stands in each column: uint8 (N, L) → int64 (5, L).

    Raises:
        ValueError: another letter.
    """
    length, whole = letters.shape[1], len(letters) // _SIDE * _SIDE
    counts = np.zeros((len(sequence.ALPHABET), length), np.int64)
    for rows in letters[:whole].reshape(whole // _SIDE, _SIDE * length), letters[whole:]:
        for start in range(0, len(rows), 255):  # as many as a sum of uint8 holds
            block = rows[start : start + 255]
            for row, letter in zip(counts, sequence.ALPHABET, strict=True):
                found = (block == ord(letter)).view(np.uint8)
                sums = np.add.reduce(found, axis=0, dtype=np.uint8)
                row += sums.reshape(-1, length).sum(axis=0, dtype=np.int64)
    if (counts.sum(axis=0) != len(letters)).any():
        strange = bytes(np.setdiff1d(letters, np.frombuffer(b"ACGTN", np.uint8))[:1])
        raise ValueError(f"expected letters ACGTN in upper case, received {strange!r}")
    return counts


def columns(counts: np.ndarray, total: int) -> Columns:
    """Returns which columns are compared, from the `count` of a library of so many sequences.

    A flank is columns, from an end on, with one letter in more than 75 % of the sequences each.
    """
    most, length = counts.max(axis=0), counts.shape[1]
    varying = np.flatnonzero(most <= _CONSTANT * total)
    core = slice(0, length)
    if varying.size and varying[-1] + 1 - varying[0] >= _SHORTEST_CORE:
        core = slice(int(varying[0]), int(varying[-1]) + 1)
    outer = np.setdiff1d(np.flatnonzero(most < total), np.arange(length)[core])
    return Columns(core, outer, 3 if counts[sequence.ALPHABET.index("N")].any() else 2)


def pack(blocks: Iterable[np.ndarray], total: int, columns: Columns) -> Strands:
    """Returns blocks of letters, `total` sequences in all, packed."""
    planes, done = columns.planes, 0
    words = np.empty((2 * total, planes * _words(columns.width)), "<u8")
    flanks = np.empty((total, planes * _words(len(columns.outer))), "<u8")
    for block in blocks:
        for start in range(0, len(block), _CHUNK):
            chunk = block[start : start + _CHUNK]
            place = slice(done, done + len(chunk))
            core = chunk[:, columns.core]
            words[:total][place] = forward(core, planes)
            words[total:][place] = reverse(core, planes)
            flanks[place] = forward(chunk[:, columns.outer], planes)
            done += len(chunk)
    return Strands(columns, words, flanks)


def joined(parts: Sequence[Strands]) -> Strands:
    """Returns the sequences of all parts, one after another."""
    cores, reverse = zip(*(np.split(part.words, 2) for part in parts), strict=True)
    words, flanks = (*cores, *reverse), [part.flanks for part in parts]
    return Strands(parts[0].columns, np.concatenate(words), np.concatenate(flanks))


def forward(letters: np.ndarray, planes: int) -> np.ndarray:
    """Returns letters bit by bit: uint8 (N, L) → uint64 (N, planes * ceil(L / 64))."""
    padded = np.zeros((len(letters), _words(letters.shape[1]) * 64), np.uint8)
    padded[:, : letters.shape[1]] = letters
    bits = [_packed(padded & bit, "little") for bit in _PLANES[:planes]]
    return np.hstack(bits).view("<u8")


def reverse(letters: np.ndarray, planes: int) -> np.ndarray:
    """Returns the reverse complement of letters, as `forward` does."""
    width, words = letters.shape[1], _words(letters.shape[1])
    padded = np.zeros((len(letters), words * 64), np.uint8)
    padded[:, words * 64 - width :] = letters
    bits = [_packed(padded & bit, "big")[:, ::-1] for bit in _PLANES[:planes]]
    packed = np.hstack(bits).view("<u8")
    second = packed[:, words : 2 * words]  # complement, but N stays N
    np.invert(second, out=second)
    if planes == 3:
        second |= packed[:, 2 * words :]
    second &= mask(np.arange(width), width)
    return packed


def mask(places: np.ndarray, width: int) -> np.ndarray:
    """Returns one plane of words with the bits of those places set: uint64 (ceil(width / 64),)."""
    bits = np.zeros(_words(width) * 64, np.uint8)
    bits[places] = 1
    return np.packbits(bits, bitorder="little").view("<u8")


def keys(words: np.ndarray, places: np.ndarray, columns: Columns) -> np.ndarray:
    """Returns a hash of the core's letters in some places: uint64 (N, …) → uint64 (N,)."""
    masks = np.tile(mask(places, columns.width), columns.planes)
    used = np.flatnonzero(masks)
    found = np.empty(len(words), np.uint64)
    for start in range(0, len(words), _CHUNK):
        masked = words[start : start + _CHUNK].take(used, axis=1) & masks[used]
        found[start : start + _CHUNK] = splits.hashes(masked.view(np.uint8), 0)
    return found


def codes(words: np.ndarray, places: np.ndarray, columns: Columns) -> np.ndarray:
    """Returns the letters of cores in some places, as numbers below 8: uint8 (N, P)."""
    bits = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")
    bits = bits.reshape(len(words), columns.planes, -1)[:, :, places]
    shifts = np.arange(columns.planes, dtype=np.uint8)[:, None]
    return (bits << shifts).sum(axis=1, dtype=np.uint8)


def distance(a: np.ndarray, b: np.ndarray, planes: int) -> np.ndarray:
    """Returns in how many letters words differ: uint64 (planes * words, …) → uint16 (…)."""
    words = len(a) // planes
    total = np.zeros(np.broadcast_shapes(a.shape[1:], b.shape[1:]), np.uint16)
    for word in range(words):
        differ = a[word] ^ b[word]
        for plane in range(1, planes):
            differ |= a[plane * words + word] ^ b[plane * words + word]
        total += np.bitwise_count(differ)
    return total


def _packed(bits: np.ndarray, order: str) -> np.ndarray:
    """Returns which bytes are not zero, eight a byte: uint8 (N, 8 * K) → uint8 (N, K)."""
    return np.packbits(bits.reshape(-1), bitorder=order).reshape(len(bits), bits.shape[1] // 8)


def _words(width: int) -> int:
    return -(-width // 64)

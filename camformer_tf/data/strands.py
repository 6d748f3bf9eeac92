"""Only for `records.build_records`: both strands of many sequences as bits, to be compared.

The core is the part between the library's fixed flanks. A flank is not the reverse complement of
the other flank, so with the flanks no reverse strand would be near a forward strand. For this
reason only the core of the reverse strand is packed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from camformer_tf.data import sequence, splits

# A column of a flank has the same letter in more than this share of the library. The share is not
# higher because 17 % of real training rows are not 110 nt long, which shifts their suffix (6,238
# kept rows of data/demo_train.txt of de-Boer-Lab/random-promoter-dream-challenge-2022@f7b2e19).
_CONSTANT = 0.75
_SHORTEST_CORE = 20  # letters; if the core would be shorter, no column counts as a flank
_SIDE = 32  # sequences laid side by side to be counted: wide rows sum fast
_CHUNK = 1 << 13  # sequences packed or hashed per round: this bounds the memory

# Three bits of the ASCII codes, the planes, distinguish the letters: A 000, C 001, G 011, T 010,
# N 111. Without N two planes are enough, and inverting bit 1 makes the complement.
_PLANES = (2, 4, 8)


@dataclasses.dataclass(frozen=True)
class Columns:
    """Which columns of a library are compared.

    Attributes:
        core: the columns of the core.
        outer: the other columns that vary.
        planes: the bits per letter: 2, or 3 in a library with N.
    """

    core: slice
    outer: np.ndarray
    planes: int

    @property
    def width(self) -> int:
        """The number of letters in the core."""
        return self.core.stop - self.core.start


@dataclasses.dataclass(frozen=True)
class Strands:
    """N sequences, packed.

    Attributes:
        columns: which columns are packed.
        words: uint64 (2N, planes * words): row i holds core i, row N + i its reverse complement;
            first bit 0 of every letter, then bit 1, then bit 2 in libraries with N.
        flanks: uint64 (N, planes * words): the same for the outer columns, without a reverse.
    """

    columns: Columns
    words: np.ndarray
    flanks: np.ndarray


def pack_library(letters: np.ndarray) -> Strands:
    """Returns a whole library, packed: letters uint8 (N, L), ASCII upper case ACGTN."""
    return pack([letters], len(letters), columns(count(letters), len(letters)))


def count(letters: np.ndarray) -> np.ndarray:
    """Returns how often each of ACGTN is in each column: uint8 (N, L) → int64 (5, L).

    Raises:
        ValueError: there is another letter.
    """
    length, even = letters.shape[1], len(letters) // _SIDE * _SIDE
    counts = np.zeros((len(sequence.ALPHABET), length), np.int64)
    # Most rows hold _SIDE sequences each; those that remain follow as rows of one sequence.
    for rows in letters[:even].reshape(even // _SIDE, _SIDE * length), letters[even:]:
        for start in range(0, len(rows), 255):  # as many as a sum in uint8 holds
            block = rows[start : start + 255]
            for row, letter in zip(counts, sequence.ALPHABET, strict=True):
                matches = (block == ord(letter)).view(np.uint8)
                sums = np.add.reduce(matches, axis=0, dtype=np.uint8)  # (_SIDE * L,) or (L,)
                row += sums.reshape(-1, length).sum(axis=0, dtype=np.int64)
    if (counts.sum(axis=0) != len(letters)).any():
        strange = bytes(np.setdiff1d(letters, np.frombuffer(b"ACGTN", np.uint8))[:1])
        raise ValueError(f"expected letters ACGTN in upper case, received {strange!r}")
    return counts


def columns(counts: np.ndarray, total: int) -> Columns:
    """Returns which columns are compared.

    A flank is columns from an end on, each with one letter in more than 75 % of the sequences.

    Args:
        counts: int64 (5, L), the `count` of the library.
        total: the number of its sequences.
    """
    maximum, length = counts.max(axis=0), counts.shape[1]  # (L,): of the most frequent letter
    varying = np.flatnonzero(maximum <= _CONSTANT * total)
    core = slice(0, length)
    if varying.size and varying[-1] + 1 - varying[0] >= _SHORTEST_CORE:
        core = slice(int(varying[0]), int(varying[-1]) + 1)
    outer = np.setdiff1d(np.flatnonzero(maximum < total), np.arange(length)[core])
    return Columns(core, outer, 3 if counts[sequence.ALPHABET.index("N")].any() else 2)


def pack(blocks: Iterable[np.ndarray], total: int, columns: Columns) -> Strands:
    """Returns blocks of letters, `total` sequences in all, packed."""
    planes, offset = columns.planes, 0
    words = np.empty((2 * total, planes * _words(columns.width)), "<u8")
    flanks = np.empty((total, planes * _words(len(columns.outer))), "<u8")
    for block in blocks:
        for start in range(0, len(block), _CHUNK):
            chunk = block[start : start + _CHUNK]
            place = slice(offset, offset + len(chunk))
            core = chunk[:, columns.core]  # (chunk, width)
            words[:total][place] = forward(core, planes)
            words[total:][place] = reverse(core, planes)
            flanks[place] = forward(chunk[:, columns.outer], planes)
            offset += len(chunk)
    return Strands(columns, words, flanks)


def join(parts: Sequence[Strands]) -> Strands:
    """Returns the sequences of all parts, one after another."""
    cores, reverse = zip(*(np.split(part.words, 2) for part in parts), strict=True)
    words, flanks = (*cores, *reverse), [part.flanks for part in parts]  # all cores come first
    return Strands(parts[0].columns, np.concatenate(words), np.concatenate(flanks))


def forward(letters: np.ndarray, planes: int) -> np.ndarray:
    """Returns letters bit by bit: uint8 (N, L) → uint64 (N, planes * ceil(L / 64))."""
    row = np.zeros((len(letters), _words(letters.shape[1]) * 64), np.uint8)  # whole words
    row[:, : letters.shape[1]] = letters
    bits = [_pack_bits(row & bit, "little") for bit in _PLANES[:planes]]
    return np.hstack(bits).view("<u8")


def reverse(letters: np.ndarray, planes: int) -> np.ndarray:
    """Returns the reverse complement of letters, as `forward` does."""
    width, words = letters.shape[1], _words(letters.shape[1])
    row = np.zeros((len(letters), words * 64), np.uint8)
    row[:, words * 64 - width :] = letters
    # Big-endian bits in reverse order of bytes are the letters from last to first.
    bits = [_pack_bits(row & bit, "big")[:, ::-1] for bit in _PLANES[:planes]]
    strand = np.hstack(bits).view("<u8")  # (N, planes * words)
    second = strand[:, words : 2 * words]  # inverting bit 1 makes the complement, but N stays N
    np.invert(second, out=second)
    if planes == 3:
        second |= strand[:, 2 * words :]
    second &= mask(np.arange(width), width)
    return strand


def mask(places: np.ndarray, width: int) -> np.ndarray:
    """Returns one plane of words whose bits are set in `places`: uint64 (ceil(width / 64),)."""
    bits = np.zeros(_words(width) * 64, np.uint8)
    bits[places] = 1
    return np.packbits(bits, bitorder="little").view("<u8")


def keys(words: np.ndarray, places: np.ndarray, columns: Columns) -> np.ndarray:
    """Returns a hash of the core's letters in some places: uint64 (N, …) → uint64 (N,)."""
    masks = np.tile(mask(places, columns.width), columns.planes)  # (planes * words,)
    active = np.flatnonzero(masks)  # words that have a letter in these places
    hashes = np.empty(len(words), np.uint64)
    for start in range(0, len(words), _CHUNK):
        chunk = words[start : start + _CHUNK].take(active, axis=1) & masks[active]
        hashes[start : start + _CHUNK] = splits.hashes(chunk.view(np.uint8), 0)
    return hashes


def codes(words: np.ndarray, places: np.ndarray, columns: Columns) -> np.ndarray:
    """Returns the letters of cores in some places, as numbers below 8: uint8 (N, P)."""
    bits = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")
    bits = bits.reshape(len(words), columns.planes, -1)[:, :, places]  # (N, planes, P)
    shifts = np.arange(columns.planes, dtype=np.uint8)[:, None]
    return (bits << shifts).sum(axis=1, dtype=np.uint8)


def distance(a: np.ndarray, b: np.ndarray, planes: int) -> np.ndarray:
    """Returns the number of letters in which words differ: uint64 (planes * words, …) → uint16."""
    words = len(a) // planes
    total = np.zeros(np.broadcast_shapes(a.shape[1:], b.shape[1:]), np.uint16)
    for word in range(words):
        differ = a[word] ^ b[word]
        for plane in range(1, planes):
            differ |= a[plane * words + word] ^ b[plane * words + word]
        total += np.bitwise_count(differ)  # a letter differs if any of its planes does
    return total


def _pack_bits(bits: np.ndarray, order: Literal["little", "big"]) -> np.ndarray:
    """Returns which bytes are not zero, eight of them in one: uint8 (N, 8 * K) → uint8 (N, K)."""
    return np.packbits(bits.reshape(-1), bitorder=order).reshape(len(bits), bits.shape[1] // 8)


def _words(width: int) -> int:
    return -(-width // 64)

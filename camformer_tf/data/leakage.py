"""Only for `records.build_records`: sequences outside training with a near one in training.

The search does not hold the training set in memory. Of k + 1 pieces of the core, two near sequences
agree on at least one (see `family`). A filter (a Bloom filter per piece) knows the pieces of all
sequences outside training. Only training sequences that pass it are compared, a few percent of a
random library. A filter may pass a sequence wrongly but never holds one back wrongly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from camformer_tf.data import family, spool, strands, workers

_BITS = 64  # of a filter for each of its pieces: it passes about 1.5 % of other pieces


@dataclasses.dataclass(frozen=True)
class _Filter:
    """The hashes of the pieces of the sequences outside training.

    Bit h of table i is set where a value of piece i has the hash h.

    Attributes:
        columns: those of the library.
        pieces: the places of each piece in the core.
        tables: a file of the tables, uint8 (pieces, size).
    """

    columns: strands.Columns
    pieces: list[np.ndarray]
    tables: Path

    def passes(self, letters: np.ndarray) -> np.ndarray:
        """Returns which sequences share a piece with the filter: uint8 (N, L) → bool (N,)."""
        words = strands.forward(letters[:, self.columns.core], self.columns.planes)
        result = np.zeros(len(letters), bool)
        tables = np.load(self.tables, mmap_mode="r")
        for piece, table in zip(self.pieces, tables, strict=True):
            place, bit = _places(words, piece, self.columns, table.size)
            result |= (table[place] & bit) > 0
        return result


def leaks(
    parts: Sequence[spool.SpooledPart],
    columns: strands.Columns,
    folder: Path,
    mapper: workers.Mapper,
    *,
    mismatches: int = 3,
) -> np.ndarray:
    """Returns which of the M examples outside training have a near one in training: bool (M,).

    Args:
        parts: all examples of the library; those of label 0 are in training.
        columns: those of the whole library.
        folder: a folder for the file of the filter, which is removed at the end.
        mapper: as in `workers.pool`.
        mismatches: letters in which near sequences may differ.
    """
    outsiders = strands.join(list(mapper(_outsiders, ((part, columns) for part in parts))))
    count = len(outsiders.flanks)
    if not count:
        return np.empty(0, bool)
    pieces = family.pieces(outsiders.words, columns, np.arange(columns.width), mismatches)
    piece_filter = None
    if pieces:
        piece_filter = _Filter(columns, pieces, folder / "filter.npy")
        np.save(piece_filter.tables, _tables(outsiders.words, pieces, columns))
    tasks = ((part, columns, piece_filter) for part in parts)
    library = strands.join([outsiders, *mapper(_candidates, tasks)])
    del outsiders
    if piece_filter:
        piece_filter.tables.unlink()
    training = np.arange(len(library.flanks)) >= count
    return family.leaks(library, training, mismatches=mismatches)[:count]


def _outsiders(task: tuple[spool.SpooledPart, strands.Columns]) -> strands.Strands:
    """Returns the examples of a part that are outside training."""
    part, columns = task
    rows, labels = part.read()
    letters = rows["letters"][labels != 0]  # (n, L)
    return strands.pack([letters], len(letters), columns)


def _candidates(
    task: tuple[spool.SpooledPart, strands.Columns, _Filter | None],
) -> strands.Strands:
    """Returns the training examples of a part that pass the filter, if there is one."""
    part, columns, piece_filter = task
    rows, labels = part.read()
    letters = rows["letters"][labels == 0]  # (n, L)
    if piece_filter:
        letters = letters[piece_filter.passes(letters)]
    return strands.pack([letters], len(letters), columns)


def _tables(words: np.ndarray, pieces: list[np.ndarray], columns: strands.Columns) -> np.ndarray:
    """Returns the tables of a filter: uint8 (pieces, size)."""
    size = 1 << max(_BITS * len(words) - 1, 1 << 16).bit_length()  # bits, a power of two
    tables = np.zeros((len(pieces), size // 8), np.uint8)
    for table, piece in zip(tables, pieces, strict=True):
        np.bitwise_or.at(table, *_places(words, piece, columns, table.size))
    return tables


def _places(
    words: np.ndarray, piece: np.ndarray, columns: strands.Columns, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns for each row the byte of a table of `size` bytes, and the bit in that byte."""
    hashes = strands.keys(words, piece, columns)
    # The byte comes from the highest bits of the hash, the bit from the lowest three.
    place = hashes >> np.uint64(64 - (size.bit_length() - 1))
    return place.astype(np.intp), np.uint8(1) << (hashes & np.uint64(7)).astype(np.uint8)

"""Which sequences outside training have a near one in it, without holding the training set.

Of k + 1 pieces of the core, two near sequences agree on at least one (see `family`). A filter knows
the pieces of all sequences outside training; what of the training set passes it is compared, which
in a random library is a few in a hundred. A filter says yes too often and never no wrongly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from camformer_tf.data import family, spool, strands, workers

_BITS = 64  # of a filter for each piece that it knows: it is wrong for about 1.5 % of others


@dataclasses.dataclass(frozen=True)
class _Filter:
    """Which values the pieces of known sequences have: bit h of table i is set where a value of
    piece i has the hash h. The tables, uint8 (pieces, size), are in a file.
    """

    columns: strands.Columns
    pieces: list[np.ndarray]
    tables: Path

    def passes(self, letters: np.ndarray) -> np.ndarray:
        """Returns which sequences agree with a known one on a piece: uint8 (N, L) → bool (N,)."""
        words = strands.forward(letters[:, self.columns.core], self.columns.planes)
        found = np.zeros(len(letters), bool)
        for piece, table in zip(self.pieces, np.load(self.tables, mmap_mode="r"), strict=True):
            place, bit = _places(words, piece, self.columns, table.size)
            found |= (table[place] & bit) > 0
        return found


def leaked(
    parts: Sequence[spool.Part],
    columns: strands.Columns,
    folder: Path,
    run: workers.Run,
    *,
    mismatches: int = 3,
) -> np.ndarray:
    """Returns which of the M examples outside training have a near one in it: bool (M,).

    Args:
        parts: all examples of the library; those of label 0 are in training.
        columns: those of the whole library.
        folder: where the filter may lie meanwhile.
        run: as in `workers.pool`.
        mismatches: letters in which near sequences may differ.
    """
    known = strands.joined(list(run(_outside, ((part, columns) for part in parts))))
    count = len(known.flanks)
    if not count:
        return np.empty(0, bool)
    pieces = family.pieces(known.words, columns, np.arange(columns.width), mismatches)
    made = None
    if pieces:
        made = _Filter(columns, pieces, folder / "filter.npy")
        np.save(made.tables, _tables(known.words, pieces, columns))
    library = strands.joined([known, *run(_near, ((part, columns, made) for part in parts))])
    del known
    if made:
        made.tables.unlink()
    training = np.arange(len(library.flanks)) >= count
    return family.leaked(library, training, mismatches=mismatches)[:count]


def _outside(task: tuple[spool.Part, strands.Columns]) -> strands.Strands:
    part, columns = task
    rows, labels = part.read()
    letters = rows["letters"][labels != 0]
    return strands.pack([letters], len(letters), columns)


def _near(task: tuple[spool.Part, strands.Columns, _Filter | None]) -> strands.Strands:
    """Returns a part's training examples that pass the filter, if there is one."""
    part, columns, made = task
    rows, labels = part.read()
    letters = rows["letters"][labels == 0]
    if made:
        letters = letters[made.passes(letters)]
    return strands.pack([letters], len(letters), columns)


def _tables(words: np.ndarray, pieces: list[np.ndarray], columns: strands.Columns) -> np.ndarray:
    size = 1 << max(_BITS * len(words) - 1, 1 << 16).bit_length()  # bits, a power of two
    tables = np.zeros((len(pieces), size // 8), np.uint8)
    for table, piece in zip(tables, pieces, strict=True):
        np.bitwise_or.at(table, *_places(words, piece, columns, table.size))
    return tables


def _places(
    words: np.ndarray, piece: np.ndarray, columns: strands.Columns, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns for each row the byte of a table of that size, and the bit in it."""
    hashes = strands.keys(words, piece, columns)
    place = hashes >> np.uint64(64 - (size.bit_length() - 1))
    return place.astype(np.intp), np.uint8(1) << (hashes & np.uint64(7)).astype(np.uint8)

"""Which sequences are near each other, so that a split can keep them together.

Two sequences are near if they differ in at most k letters (`mismatches`), or if the core of one and
the reverse complement of the other's core do (`strands` says what the core is). N equals only N.
Columns are compared as they stand: a copy that lost or gained a letter is not found.

Method: of k + 1 pieces of the core, two near sequences agree on at least one (the pigeonhole). For
each piece, rows that agree on it are grouped by a hash and compared, and what is near is joined. A
large group is cut again, in the columns that its rows need not agree on. Pairs of one family are
not compared, so a dense group costs little more than joining it. What stays quadratic: a group of
rows that share nearly all letters, and yet are not near.
"""

from __future__ import annotations

import dataclasses
import logging

import numpy as np

from camformer_tf import errors
from camformer_tf.data import splits, strands

_CHUNK = 1 << 13  # groups compared at a time: what bounds the memory
_SMALL = 128  # rows; groups up to this size are compared together, larger ones one by one
_DIRECT = 512  # comparisons a row, up to which comparing a group costs less than cutting it again
_CROWDED = 0.75  # of a group's comparisons are left when it is cut again: then it is compared
_SAMPLE = 2048  # rows from which the latter is judged
_TILE = 64, 2048  # rows times rows compared at once: 1 MB, about the processor's cache

_LOG = logging.getLogger(__name__)


def families(library: strands.Strands, *, mismatches: int = 3) -> np.ndarray:
    """Returns the family of each sequence: int64 (N,), numbered from 0 by first appearance.

    Two sequences are of one family if a chain of near ones leads from one to the other.

    Args:
        mismatches: letters in which near sequences may differ.

    Memory beside the packed library (80 bytes a sequence of 110 letters): about 30 bytes each.
    """
    roots = _search(library, mismatches)
    return (np.cumsum(roots == np.arange(len(roots))) - 1)[roots]


def leaked(library: strands.Strands, training: np.ndarray, *, mismatches: int = 3) -> np.ndarray:
    """Returns which sequences outside training have a near one in it: bool (N,), False in training.

    Args:
        training: bool (N,), which of them are in training.
        mismatches: letters in which near sequences may differ.
    """
    roots = _search(library, mismatches, training)
    return np.isin(roots, roots[training]) & ~training


def pieces(
    words: np.ndarray, columns: strands.Columns, free: np.ndarray, mismatches: int
) -> list[np.ndarray]:
    """Returns the places `free` cut into mismatches + 1 pieces, equally variable in these words; no
    piece where rows that agree on one would be nearly as many pairs as there are.
    """
    sample = strands.codes(words[:: -(-len(words) // _SAMPLE)], free, columns)
    alike = sum((sample == code).mean(axis=0) ** 2 for code in range(1 << columns.planes))
    variety = -np.log(alike)
    if not variety.sum() > 0:
        return []
    shares = np.arange(1, mismatches + 1) / (mismatches + 1)
    cuts = np.searchsorted(np.cumsum(variety) - variety / 2, shares * variety.sum())
    left = 0.0
    for part in np.split(sample, cuts, axis=1):
        sizes = np.unique(splits.hashes(part, 0), return_counts=True)[1]
        left += np.sum((sizes / len(sample)) ** 2)
    return np.split(free, cuts) if left <= _CROWDED else []


# === The forest: which sequences are of one family so far ===


@dataclasses.dataclass(frozen=True)
class _Library:
    """The rows of `strands.Strands`, and what is known of them.

    parent: a forest, int32 (N,): sequences of one family have one root, the first of them.
    target: bool (N,): a pair is of interest only if one of the two is a target.
    """

    words: np.ndarray
    flanks: np.ndarray
    columns: strands.Columns
    mismatches: int
    parent: np.ndarray
    target: np.ndarray


def _roots(parent: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    root = parent[nodes]
    while not np.array_equal(above := parent[root], root):
        root = above
    parent[nodes] = root
    return root


def _join(parent: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    while a.size:
        a, b = _roots(parent, a), _roots(parent, b)
        apart = a != b
        a, b = a[apart], b[apart]
        np.minimum.at(parent, np.maximum(a, b), np.minimum(a, b))


def _distinct(library: _Library) -> np.ndarray:
    """Joins equal sequences, and returns the first of each: int32 (U,)."""
    rows = np.arange(len(library.parent), dtype=np.int32)
    members, sizes = _groups(library, rows, np.arange(library.columns.width))
    first = np.repeat(members[np.cumsum(sizes) - sizes], sizes)
    same = (library.words[first] == library.words[members]).all(axis=1) & (first != members)
    same &= (library.flanks[first] == library.flanks[members]).all(axis=1)
    first, copies = first[same], members[same]
    library.target[first[library.target[copies]]] = True
    _join(library.parent, first, copies)
    return np.delete(rows, copies)


# === The search: which rows to compare ===


def _search(
    packed: strands.Strands, mismatches: int, training: np.ndarray | None = None
) -> np.ndarray:
    """Returns the root of each sequence's family: the index of its first sequence, int32 (N,).

    With `training`, that is one family from the start, and joins others but joins none of them to
    each other: pairs of which neither is in training do not count.
    """
    if mismatches < 0:
        raise errors.UserError(f"--mismatches {mismatches}: expected 0 or more.")
    count = len(packed.flanks)
    library = _Library(
        packed.words,
        packed.flanks,
        packed.columns,
        mismatches,
        np.arange(count, dtype=np.int32),
        np.ones(count, bool) if training is None else training.copy(),
    )
    rows = _distinct(library)
    if training is not None:
        trained = np.flatnonzero(training)
        _join(library.parent, trained, trained[:1].repeat(len(trained)))
    rows = np.concatenate([rows, rows + np.int32(count)])
    compared = _link(library, rows, np.arange(packed.columns.width))
    _LOG.debug("compared %d pairs of %d rows", compared, len(rows))
    return _roots(library.parent, np.arange(count))


def _link(library: _Library, rows: np.ndarray, free: np.ndarray) -> int:
    """Joins what is near among rows that agree in all columns of the core but `free`.

    Returns the number of pairs compared.
    """
    home, pairs = _outlook(library, rows)
    cut = []
    if pairs > _DIRECT * len(rows):
        cut = pieces(library.words[rows[:: -(-len(rows) // _SAMPLE)]], library.columns, free,
                     library.mismatches)  # fmt: skip
    if not cut:
        return _compare(library, rows, home) if pairs else 0
    compared = 0
    for piece in cut:
        members, sizes = _groups(library, rows, piece)
        small = sizes <= _SMALL
        compared += _compare_small(library, members[np.repeat(small, sizes)], sizes[small])
        ends = np.cumsum(sizes)[~small]
        for start, end in zip(ends - sizes[~small], ends, strict=True):
            compared += _link(library, members[start:end], np.setdiff1d(free, piece))
    return compared


def _outlook(library: _Library, rows: np.ndarray) -> tuple[int, int]:
    """Returns the root of the family with most targets among rows, and the pairs `_compare` has."""
    count = len(library.parent)
    sequence, forward = rows % count, rows < count
    roots, target = _roots(library.parent, sequence), library.target[sequence]
    if not target.any():
        return -1, 0
    names, members = np.unique(roots[target], return_counts=True)
    home = names[members.argmax()]
    outside = roots != home
    pairs = np.sum(outside & forward) * np.sum(target & (forward | ~outside))
    return home, int(pairs + np.sum(outside & ~forward) * np.sum(target & forward))


def _groups(
    library: _Library, rows: np.ndarray, places: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows that agree in `places` with others, group by group, and the groups' sizes.

    Left out: groups of one family, and of reverse complements alone.
    """
    count, bits = len(library.parent), np.uint64(len(rows).bit_length())
    keys = np.arange(len(rows), dtype=np.uint64)  # below the hash, so that one sort does
    for start in range(0, len(rows), _CHUNK):
        words = library.words[rows[start : start + _CHUNK]]
        hashes = strands.keys(words, places, library.columns)
        keys[start : start + _CHUNK] |= hashes >> bits << bits
    keys.sort()
    alike = np.zeros(len(rows) + 1, bool)  # a row and the one before it
    alike[1:-1] = (keys[1:] ^ keys[:-1]) >> bits == 0
    ends = np.flatnonzero(alike[:-1] != alike[1:]).reshape(-1, 2)
    keys = keys[alike[:-1] | alike[1:]]
    sizes = ends[:, 1] - ends[:, 0] + 1
    members = rows[keys & np.uint64((1 << int(bits)) - 1)]
    if not sizes.size:
        return members, sizes
    starts, roots = np.cumsum(sizes) - sizes, _roots(library.parent, members % count)
    useful = np.minimum.reduceat(roots, starts) != np.maximum.reduceat(roots, starts)
    useful &= np.minimum.reduceat(members, starts) < count
    return members[np.repeat(useful, sizes)], sizes[useful]


# === Comparing rows ===


def _compare_small(library: _Library, members: np.ndarray, sizes: np.ndarray) -> int:
    """Compares all pairs in each of many groups: each row with the next, the one after it, …"""
    compared = done = 0
    for part in np.array_split(sizes, len(sizes) // _CHUNK + 1):
        place, done = np.arange(done, done + part.sum()), done + part.sum()
        end = np.repeat(done - part.sum() + np.cumsum(part), part)
        for offset in range(1, part.max(initial=1)):
            inside = place + offset < end
            place, end = place[inside], end[inside]
            compared += _meet(library, members[place], members[place + offset])
    return compared


def _compare(library: _Library, rows: np.ndarray, home: int) -> int:
    """Compares rows outside the family `home` with all, first the reverse complements among them.

    A row that joins `home` on the way needs no further comparing: what it has not met, meets it.
    """
    count, compared = len(library.parent), 0
    sequence, forward = rows % count, rows < count
    for strand in (~forward, forward):
        outside = _roots(library.parent, sequence) != _roots(library.parent, home)
        open_ = library.target[sequence] & (forward | (~outside if strand is forward else False))
        queries = np.flatnonzero(strand & outside)
        while queries.size:
            head, queries = queries[: _TILE[0]], queries[_TILE[0] :]
            compared += _compare_tiles(library, rows[head], rows[open_])
            open_[head] = False
            roots = _roots(library.parent, sequence[queries])
            queries = queries[roots != _roots(library.parent, home)]
    return compared


def _compare_tiles(library: _Library, queries: np.ndarray, targets: np.ndarray) -> int:
    words = library.words[queries].T[:, :, None]
    for start in range(0, len(targets), _TILE[1]):
        part = targets[start : start + _TILE[1]]
        distance = strands.distance(words, library.words[part].T[:, None], library.columns.planes)
        a, b = np.nonzero(distance <= library.mismatches)
        _meet(library, queries[a], part[b])
    return len(queries) * len(targets)


def _meet(library: _Library, a: np.ndarray, b: np.ndarray) -> int:
    """Joins those pairs of rows that are near, and returns how many of them had to be compared."""
    count = len(library.parent)
    first, second = a % count, b % count
    wanted = ((a < count) | (b < count)) & (library.target[first] | library.target[second])
    wanted &= _roots(library.parent, first) != _roots(library.parent, second)
    a, b, first, second = a[wanted], b[wanted], first[wanted], second[wanted]
    distance = strands.distance(library.words[a].T, library.words[b].T, library.columns.planes)
    if library.flanks.shape[1]:
        same = (a < count) & (b < count)
        flanks = library.flanks[a[same]].T, library.flanks[b[same]].T
        distance[same] += strands.distance(*flanks, library.columns.planes)
    near = distance <= library.mismatches
    _join(library.parent, first[near], second[near])
    return len(a)

"""Which sequences are near each other, so that a split can keep them together.

Two sequences are near if they differ in at most k letters (`mismatches`), or if the core of one and
the reverse complement of the other's core do. The core is what lies between the library's fixed
flanks, which would otherwise keep any two strands apart. N equals only N. Columns are compared as
they stand: a copy that lost or gained a letter is not found.

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
from camformer_tf.data import splits

# A column of a flank has one letter in this share of the library. Not higher: 17 % of real training
# rows are not 110 nt long, which shifts their suffix (6,238 kept rows of data/demo_train.txt of
# de-Boer-Lab/random-promoter-dream-challenge-2022@f7b2e19).
_CONSTANT = 0.75
_SHORTEST_CORE = 20  # letters; where less would be left, nothing counts as a flank

_CHUNK = 1 << 13  # rows packed or hashed, or groups compared, at a time: what bounds the memory
_SMALL = 128  # rows; groups up to this size are compared together, larger ones one by one
_DIRECT = 512  # comparisons a row, up to which comparing a group costs less than cutting it again
_CROWDED = 0.75  # of a group's comparisons are left when it is cut again: then it is compared
_SAMPLE = 2048  # rows from which the latter is judged
_TILE = 64, 2048  # rows times rows compared at once: 1 MB, about the processor's cache

_CODES = np.full(256, 5, np.uint8)
_CODES[list(b"ACGTN")] = range(5)
_COMPLEMENT = np.array([3, 2, 1, 0, 4], np.uint8)
_LOG = logging.getLogger(__name__)


def families(letters: np.ndarray, *, mismatches: int = 3) -> np.ndarray:
    """Returns the family of each sequence: int64 (N,), numbered from 0 by first appearance.

    Two sequences are of one family if a chain of near ones leads from one to the other.

    Args:
        letters: uint8 (N, L), ASCII upper case ACGTN, fitted to one length.
        mismatches: letters in which near sequences may differ.

    Memory beside the letters: about 150 bytes a sequence of 110 letters, 200 in a library with N.
    """
    roots = _search(letters, mismatches)
    return (np.cumsum(roots == np.arange(len(roots))) - 1)[roots]


def leaked(letters: np.ndarray, training: np.ndarray, *, mismatches: int = 3) -> np.ndarray:
    """Returns which sequences outside training have a near one in it: bool (N,), False in training.

    Args:
        letters: uint8 (N, L), ASCII upper case ACGTN: all splits of the library together, so that
            its core is the one that `families` saw.
        training: bool (N,), which of them are in training.
        mismatches: letters in which near sequences may differ.
    """
    roots = _search(letters, mismatches, training)
    return np.isin(roots, roots[training]) & ~training


def core(letters: np.ndarray) -> slice:
    """Returns the columns between the library's fixed flanks; all where there are none.

    A flank is columns, from an end on, with one letter in more than 75 % of the sequences each.
    """
    return _core(_count(letters), len(letters))


# === Rows: the packed letters of the library ===


@dataclasses.dataclass(frozen=True)
class _Library:
    """Rows 0..N-1 are the sequences; row N + i is the reverse complement of the core of row i.

    words: cores, uint64 (2N, planes * words): bit 0 of every letter's code, then bit 1, then for
        libraries with N bit 2. flanks: the same of other columns that vary, uint64 (N, …).
    parent: a forest, int32 (N,): sequences of one family have one root, the first of them.
    target: bool (N,): a pair is of interest only if one of the two is a target.
    """

    words: np.ndarray
    flanks: np.ndarray
    planes: int
    width: int  # letters of the core
    mismatches: int
    parent: np.ndarray
    target: np.ndarray


def _count(letters: np.ndarray) -> np.ndarray:
    """Returns how often each of ACGTN stands in each column: int64 (5, L)."""
    counts = np.zeros((5, letters.shape[1]), np.int64)
    for start in range(0, len(letters), _CHUNK):
        codes = _CODES[letters[start : start + _CHUNK]]
        if codes.max(initial=0) == 5:
            strange = bytes(letters[start : start + _CHUNK][codes == 5][:1])
            raise ValueError(f"expected letters ACGTN in upper case, received {strange!r}")
        counts += [np.count_nonzero(codes == code, axis=0) for code in range(5)]
    return counts


def _core(counts: np.ndarray, count: int) -> slice:
    varying = np.flatnonzero(counts.max(axis=0) <= _CONSTANT * count)
    if not varying.size or varying[-1] + 1 - varying[0] < _SHORTEST_CORE:
        return slice(0, counts.shape[1])
    return slice(int(varying[0]), int(varying[-1]) + 1)


def _pack(letters: np.ndarray, mismatches: int, training: np.ndarray | None) -> _Library:
    if mismatches < 0:
        raise errors.UserError(f"--mismatches {mismatches}: expected 0 or more.")
    counts, count = _count(letters), len(letters)
    planes = 3 if counts[4].any() else 2
    inner = np.arange(letters.shape[1])[_core(counts, count)]
    outer = np.setdiff1d(np.flatnonzero(counts.max(axis=0) < count), inner)
    words = np.empty((2 * count, planes * -(-len(inner) // 64)), "<u8")
    flanks = np.empty((count, planes * -(-len(outer) // 64)), "<u8")
    for start in range(0, count, _CHUNK):
        codes = _CODES[letters[start : start + _CHUNK]]
        chunk = slice(start, start + len(codes))
        words[:count][chunk] = _words(codes[:, inner], planes)
        words[count:][chunk] = _words(_COMPLEMENT[codes[:, inner[::-1]]], planes)
        flanks[chunk] = _words(codes[:, outer], planes)
    parent = np.arange(count, dtype=np.int32)
    target = np.ones(count, bool) if training is None else training.copy()
    return _Library(words, flanks, planes, len(inner), mismatches, parent, target)


def _words(codes: np.ndarray, planes: int) -> np.ndarray:
    """Returns codes, uint8 (N, L), bit by bit: uint64 (N, planes * ceil(L / 64))."""
    bits = np.zeros((len(codes), planes, -(-codes.shape[1] // 64) * 64), np.uint8)
    for plane in range(planes):
        bits[:, plane, : codes.shape[1]] = codes >> plane & 1
    return np.packbits(bits, axis=2, bitorder="little").reshape(len(codes), -1).view("<u8")


def _distance(a: np.ndarray, b: np.ndarray, planes: int) -> np.ndarray:
    """Returns in how many letters words differ: uint64 (planes * words, …) → uint16 (…)."""
    words = len(a) // planes
    total = np.zeros(np.broadcast_shapes(a.shape[1:], b.shape[1:]), np.uint16)
    for word in range(words):
        differ = a[word] ^ b[word]
        for plane in range(1, planes):
            differ |= a[plane * words + word] ^ b[plane * words + word]
        total += np.bitwise_count(differ)
    return total


# === The forest: which sequences are of one family so far ===


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
    members, sizes = _groups(library, rows, np.arange(library.width))
    first = np.repeat(members[np.cumsum(sizes) - sizes], sizes)
    same = (library.words[first] == library.words[members]).all(axis=1) & (first != members)
    same &= (library.flanks[first] == library.flanks[members]).all(axis=1)
    first, copies = first[same], members[same]
    library.target[first[library.target[copies]]] = True
    _join(library.parent, first, copies)
    return np.delete(rows, copies)


# === The search: which rows to compare ===


def _search(letters: np.ndarray, mismatches: int, training: np.ndarray | None = None) -> np.ndarray:
    """Returns the root of each sequence's family: the index of its first sequence, int32 (N,).

    With `training`, that is one family from the start, and joins others but joins none of them to
    each other: pairs of which neither is in training do not count."""
    library = _pack(letters, mismatches, training)
    rows = _distinct(library)
    if training is not None:
        trained = np.flatnonzero(training)
        _join(library.parent, trained, trained[:1].repeat(len(trained)))
    rows = np.concatenate([rows, rows + np.int32(len(letters))])
    compared = _link(library, rows, np.arange(library.width))
    _LOG.debug("compared %d pairs of %d rows", compared, len(rows))
    return _roots(library.parent, np.arange(len(letters)))


def _link(library: _Library, rows: np.ndarray, free: np.ndarray) -> int:
    """Joins what is near among rows that agree in all columns of the core but `free`.

    Returns the number of pairs compared."""
    home, pairs = _outlook(library, rows)
    pieces = _pieces(library, rows, free) if pairs > _DIRECT * len(rows) else []
    if not pieces:
        return _compare(library, rows, home) if pairs else 0
    compared = 0
    for piece in pieces:
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


def _pieces(library: _Library, rows: np.ndarray, free: np.ndarray) -> list[np.ndarray]:
    """Returns `free` cut into mismatches + 1 pieces, equally variable in these rows; no piece where
    rows that agree on one would be nearly as many pairs as there are."""
    sample = library.words[rows[:: -(-len(rows) // _SAMPLE)]]
    bits = np.unpackbits(sample.view(np.uint8), axis=1, bitorder="little")
    bits = bits.reshape(len(sample), library.planes, -1)[:, :, free]
    codes = (bits << np.arange(library.planes, dtype=np.uint8)[:, None]).sum(axis=1, dtype=np.uint8)
    alike = sum((codes == code).mean(axis=0) ** 2 for code in range(5))
    variety = -np.log(alike)
    if not variety.sum() > 0:
        return []
    shares = np.arange(1, library.mismatches + 1) / (library.mismatches + 1)
    cuts = np.searchsorted(np.cumsum(variety) - variety / 2, shares * variety.sum())
    left = 0.0
    for part in np.split(codes, cuts, axis=1):
        sizes = np.unique(splits.hashes(part, 0), return_counts=True)[1]
        left += np.sum((sizes / len(sample)) ** 2)
    return np.split(free, cuts) if left <= _CROWDED else []


def _groups(
    library: _Library, rows: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows that agree in `columns` with others, group by group, and the groups' sizes.

    Left out: groups of one family, and of reverse complements alone."""
    count, bits = len(library.parent), np.uint64(len(rows).bit_length())
    mask = _words(np.isin(np.arange(library.width), columns)[None].astype(np.uint8), 1)
    mask = np.tile(mask, library.planes)
    keys = np.arange(len(rows), dtype=np.uint64)  # below the hash, so that one sort does
    for start in range(0, len(rows), _CHUNK):
        masked = library.words[rows[start : start + _CHUNK]] & mask
        keys[start : start + _CHUNK] |= splits.hashes(masked.view(np.uint8), 0) >> bits << bits
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
        distance = _distance(words, library.words[part].T[:, None], library.planes)
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
    distance = _distance(library.words[a].T, library.words[b].T, library.planes)
    if library.flanks.shape[1]:
        same = (a < count) & (b < count)
        flanks = library.flanks[a[same]].T, library.flanks[b[same]].T
        distance[same] += _distance(*flanks, library.planes)
    near = distance <= library.mismatches
    _join(library.parent, first[near], second[near])
    return len(a)

"""Only for `records.build_records`: families of near sequences, which a split keeps together.

Two sequences are near if they differ in at most k letters (`mismatches`), or if the core of one and
the reverse complement of the other's core do (`strands` defines the core). N equals only N. Columns
are compared without alignment: a copy with a letter inserted or deleted is not near.

Method: if the core is cut into k + 1 pieces, two near sequences agree on at least one of them (the
pigeonhole principle). For each piece, rows that agree on it are grouped by a hash and compared, and
near rows are joined. A large group is cut again, in the columns where its rows may differ. Pairs
within one family are not compared, so a dense group costs little more than joining it. One case
stays quadratic: a group of rows that share nearly all letters but are not near.
"""

from __future__ import annotations

import dataclasses
import logging

import numpy as np

from camformer_tf import errors
from camformer_tf.data import splits, strands

_CHUNK = 1 << 13  # groups compared per round: this bounds the memory
_SMALL = 128  # rows; groups up to this size are compared together, larger ones one by one
_DIRECT = 512  # comparisons per row, up to which comparing a group costs less than cutting it again
_USELESS = 0.75  # if cutting a group again leaves this share of its comparisons, it is not cut
_SAMPLE = 2048  # rows from which that share is estimated
_TILE = 64, 2048  # rows times rows per comparison: 1 MB, about the processor's cache

_LOG = logging.getLogger(__name__)


def families(library: strands.Strands, *, mismatches: int = 3) -> np.ndarray:
    """Returns the family of each sequence: int64 (N,), numbered from 0 by first appearance.

    Two sequences are in one family if a chain of near sequences connects them. Memory besides the
    packed library (80 bytes per sequence of 110 letters): about 30 bytes per sequence.

    Args:
        library: N sequences.
        mismatches: letters in which near sequences may differ.
    """
    roots = _search(library, mismatches)
    return (np.cumsum(roots == np.arange(len(roots))) - 1)[roots]


def leaks(library: strands.Strands, training: np.ndarray, *, mismatches: int = 3) -> np.ndarray:
    """Returns which sequences outside training have a near one in training: bool (N,).

    It is False for the training sequences.

    Args:
        library: N sequences.
        training: bool (N,), which of them are in training.
        mismatches: letters in which near sequences may differ.
    """
    roots = _search(library, mismatches, training)
    return np.isin(roots, roots[training]) & ~training


def pieces(
    words: np.ndarray, columns: strands.Columns, free: np.ndarray, mismatches: int
) -> list[np.ndarray]:
    """Returns the places `free`, cut into mismatches + 1 pieces that vary equally in these words.

    There are no pieces if the pairs of rows that agree on one would be nearly all pairs.

    Args:
        words: uint64 (N, planes * words), cores.
        columns: the columns of the library.
        free: the places to cut, in which the rows may differ.
        mismatches: letters in which near sequences may differ.
    """
    # (S, P), the codes of a sample of the rows in these places
    sample = strands.codes(words[:: -(-len(words) // _SAMPLE)], free, columns)
    codes = range(1 << columns.planes)
    agreement = np.sum([(sample == code).mean(axis=0) ** 2 for code in codes], axis=0)  # (P,)
    variety = -np.log(agreement)  # (P,): it adds up over places if they are independent
    if not variety.sum() > 0:
        return []
    shares = np.arange(1, mismatches + 1) / (mismatches + 1)
    cuts = np.searchsorted(np.cumsum(variety) - variety / 2, shares * variety.sum())
    share = 0.0  # of the pairs would be compared after this cut
    for part in np.split(sample, cuts, axis=1):
        sizes = np.unique(splits.hashes(part, 0), return_counts=True)[1]
        share += np.sum((sizes / len(sample)) ** 2)
    return np.split(free, cuts) if share <= _USELESS else []


# === The forest: which sequences are in one family so far ===


@dataclasses.dataclass(frozen=True)
class _Library:
    """The rows of `strands.Strands`, and the state of the search.

    Attributes:
        words: as in `strands.Strands`.
        flanks: as in `strands.Strands`.
        columns: as in `strands.Strands`.
        mismatches: letters in which near sequences may differ.
        parent: int32 (N,), a forest: the sequences of one family have one root, the first of them.
        target: bool (N,): a pair is compared only if one of the two is a target.
    """

    words: np.ndarray
    flanks: np.ndarray
    columns: strands.Columns
    mismatches: int
    parent: np.ndarray
    target: np.ndarray


def _roots(parent: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Returns the root of each node, and shortens the paths to it."""
    root = parent[nodes]
    while not np.array_equal(grandparent := parent[root], root):
        root = grandparent
    parent[nodes] = root
    return root


def _root(parent: np.ndarray, node: int) -> int:
    """Returns the root of one node."""
    return int(_roots(parent, np.array([node]))[0])


def _join(parent: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    """Joins the families of a[i] and b[i], for every i."""
    # Several pairs may set the same root, of which only the smallest stays: repeat until none is
    # left apart.
    while a.size:
        a, b = _roots(parent, a), _roots(parent, b)
        apart = a != b
        a, b = a[apart], b[apart]
        np.minimum.at(parent, np.maximum(a, b), np.minimum(a, b))


def _distinct(library: _Library) -> np.ndarray:
    """Joins equal sequences, and returns the first of each: int32 (U,)."""
    rows = np.arange(len(library.parent), dtype=np.int32)
    members, sizes = _groups(library, rows, np.arange(library.columns.width))
    first = np.repeat(members[np.cumsum(sizes) - sizes], sizes)  # of the group of each member
    equal = (library.words[first] == library.words[members]).all(axis=1) & (first != members)
    equal &= (library.flanks[first] == library.flanks[members]).all(axis=1)
    first, copies = first[equal], members[equal]
    library.target[first[library.target[copies]]] = True
    _join(library.parent, first, copies)
    return np.delete(rows, copies)


# === The search: which rows to compare ===


def _search(
    sequences: strands.Strands, mismatches: int, training: np.ndarray | None = None
) -> np.ndarray:
    """Returns the root of each sequence's family: the index of its first sequence, int32 (N,).

    With `training`, the training sequences are one family from the start. Others join that family,
    but not each other: pairs without a training sequence do not count.
    """
    if mismatches < 0:
        raise errors.UserError(f"--mismatches {mismatches}: expected 0 or more.")
    count = len(sequences.flanks)
    library = _Library(
        sequences.words,
        sequences.flanks,
        sequences.columns,
        mismatches,
        np.arange(count, dtype=np.int32),
        np.ones(count, bool) if training is None else training.copy(),
    )
    rows = _distinct(library)
    if training is not None:
        members = np.flatnonzero(training)
        _join(library.parent, members, members[:1].repeat(len(members)))
    rows = np.concatenate([rows, rows + np.int32(count)])  # both strands
    pairs = _link(library, rows, np.arange(sequences.columns.width))
    _LOG.debug("compared %d pairs of %d rows", pairs, len(rows))
    return _roots(library.parent, np.arange(count))


def _link(library: _Library, rows: np.ndarray, free: np.ndarray) -> int:
    """Joins near rows among rows that agree in all columns of the core except `free`.

    Returns:
        The number of pairs compared.
    """
    home, pairs = _home_and_pairs(library, rows)
    cut = []
    if pairs > _DIRECT * len(rows):
        sample = library.words[rows[:: -(-len(rows) // _SAMPLE)]]
        cut = pieces(sample, library.columns, free, library.mismatches)
    if not cut:
        return _compare(library, rows, home) if pairs else 0
    count = 0
    for piece in cut:
        members, sizes = _groups(library, rows, piece)
        small = sizes <= _SMALL
        count += _compare_small(library, members[np.repeat(small, sizes)], sizes[small])
        ends = np.cumsum(sizes)[~small]
        for start, end in zip(ends - sizes[~small], ends, strict=True):
            count += _link(library, members[start:end], np.setdiff1d(free, piece))
    return count


def _home_and_pairs(library: _Library, rows: np.ndarray) -> tuple[int, int]:
    """Returns the root of the family with most targets among rows, and the pairs to compare."""
    count = len(library.parent)
    sequence, forward = rows % count, rows < count
    roots, target = _roots(library.parent, sequence), library.target[sequence]
    if not target.any():
        return -1, 0
    names, members = np.unique(roots[target], return_counts=True)
    home = names[members.argmax()]
    foreign = roots != home
    pairs = np.sum(foreign & forward) * np.sum(target & (forward | ~foreign))
    return int(home), int(pairs + np.sum(foreign & ~forward) * np.sum(target & forward))


def _groups(
    library: _Library, rows: np.ndarray, places: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows that agree in `places` with others, group by group, and the groups' sizes.

    Groups within one family, and groups of reverse complements alone, are left out.
    """
    count, bits = len(library.parent), np.uint64(len(rows).bit_length())
    # The high bits of a key are a hash, the low bits the row, so that one sort groups the rows.
    keys = np.arange(len(rows), dtype=np.uint64)
    for start in range(0, len(rows), _CHUNK):
        words = library.words[rows[start : start + _CHUNK]]
        hashes = strands.keys(words, places, library.columns)
        keys[start : start + _CHUNK] |= hashes >> bits << bits
    keys.sort()
    equal = np.zeros(len(rows) + 1, bool)  # whether a key has the hash of the key before it
    equal[1:-1] = (keys[1:] ^ keys[:-1]) >> bits == 0
    ends = np.flatnonzero(equal[:-1] != equal[1:]).reshape(-1, 2)  # (G, 2): first and last
    keys = keys[equal[:-1] | equal[1:]]
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
    """Compares all pairs in each of many groups, by the distance of the two rows in the group.

    Returns:
        The number of pairs compared.
    """
    count = stop = 0
    for part in np.array_split(sizes, len(sizes) // _CHUNK + 1):
        place, stop = np.arange(stop, stop + part.sum()), stop + part.sum()  # (rows of the part,)
        end = np.repeat(stop - part.sum() + np.cumsum(part), part)  # of the group of each row
        for offset in range(1, part.max(initial=1)):
            valid = place + offset < end
            place, end = place[valid], end[valid]
            count += _compare_pairs(library, members[place], members[place + offset])
    return count


def _compare(library: _Library, rows: np.ndarray, home: int) -> int:
    """Compares rows outside the family `home` with all rows, reverse complements first.

    A row that joins `home` meanwhile is not a query any more: the rows that it has not been
    compared with are compared with it when they are queries.
    """
    count, pairs = len(library.parent), 0
    sequence, forward = rows % count, rows < count
    for strand in (~forward, forward):
        foreign = _roots(library.parent, sequence) != _root(library.parent, home)
        open_ = library.target[sequence] & (forward | (~foreign if strand is forward else False))
        queries = np.flatnonzero(strand & foreign)
        while queries.size:
            head, queries = queries[: _TILE[0]], queries[_TILE[0] :]
            pairs += _compare_tiles(library, rows[head], rows[open_])
            open_[head] = False
            roots = _roots(library.parent, sequence[queries])
            queries = queries[roots != _root(library.parent, home)]
    return pairs


def _compare_tiles(library: _Library, queries: np.ndarray, targets: np.ndarray) -> int:
    words = library.words[queries].T[:, :, None]  # (planes * words, Q, 1)
    for start in range(0, len(targets), _TILE[1]):
        part = targets[start : start + _TILE[1]]
        columns = library.words[part].T[:, None]  # (planes * words, 1, T)
        distance = strands.distance(words, columns, library.columns.planes)  # (Q, T)
        a, b = np.nonzero(distance <= library.mismatches)
        _compare_pairs(library, queries[a], part[b])
    return len(queries) * len(targets)


def _compare_pairs(library: _Library, a: np.ndarray, b: np.ndarray) -> int:
    """Joins those pairs of rows that are near, and returns how many of them had to be compared."""
    count = len(library.parent)
    first, second = a % count, b % count  # the sequences of the rows
    open_ = ((a < count) | (b < count)) & (library.target[first] | library.target[second])
    open_ &= _roots(library.parent, first) != _roots(library.parent, second)
    a, b, first, second = a[open_], b[open_], first[open_], second[open_]
    distance = strands.distance(library.words[a].T, library.words[b].T, library.columns.planes)
    if library.flanks.shape[1]:  # flanks count between two forward strands alone
        forward = (a < count) & (b < count)
        flanks = library.flanks[a[forward]].T, library.flanks[b[forward]].T
        distance[forward] += strands.distance(*flanks, library.columns.planes)
    is_near = distance <= library.mismatches
    _join(library.parent, first[is_near], second[is_near])
    return len(a)

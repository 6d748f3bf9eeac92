"""Which example goes to which split: at random, stratified, by hash, by family or by column."""

from __future__ import annotations

import collections
import math
import re
from fractions import Fraction

import numpy as np

from camformer_tf import errors, recipe

_NAME = "[a-z][a-z0-9_]*"


def parse_fractions(text: str) -> dict[str, Fraction]:
    """Returns the splits that "train=0.9,val=0.1" names, as exact fractions that sum to 1.

    Raises:
        errors.UserError: the text has another form, or the fractions do not sum to 1.
    """
    fractions: dict[str, Fraction] = {}
    for part in text.split(","):
        match = re.fullmatch(rf"\s*({_NAME})\s*=\s*(\d*\.?\d+)\s*", part)
        if not match or match[1] in fractions:
            raise errors.UserError(
                f"--split {text}: expected NAME=FRACTION,…, each name once and in lower "
                f"case, such as train=0.9,val=0.1; found {part!r}."
            )
        fractions[match[1]] = Fraction(match[2])
    if sum(fractions.values()) != 1 or min(fractions.values()) <= 0:
        total = f"{float(sum(fractions.values())):g}"
        raise errors.UserError(
            f"--split {text}: the fractions must be above 0 and sum to 1, not to {total}."
        )
    return fractions


def random(total: int, fractions: dict[str, Fraction], seed: int) -> np.ndarray:
    """Returns the index of each example's split: uint8 (total,), in random order.

    Counts are exact: every split but the first gets ceil(fraction * total), and the first gets the
    remainder. This is scikit-learn's rule: 6,605,587 sequences give 5,945,028 for training and
    660,559 for validation.
    """
    labels = np.repeat(np.arange(len(fractions), dtype=np.uint8), _sizes(total, fractions))
    np.random.default_rng(recipe.sub_seed(seed, "split")).shuffle(labels)
    return labels


def stratify(expression: np.ndarray, fractions: dict[str, Fraction], seed: int) -> np.ndarray:
    """Returns the index of each example's split, stratified by expression: uint8 (N,).

    Counts are those of `random`; each split gets its share of every tenth. Tenths are split at the
    quantiles of `pd.qcut(expression, 10, duplicates="drop")`; equal values lie in one tenth.
    Source: make_stratified_splits, base/utils.py:426-451, Bornelov-lab/Camformer@feaa529.
    """
    total = len(expression)
    sizes = _sizes(total, fractions)
    edges = np.unique(np.quantile(expression.astype(np.float64), np.linspace(0, 1, 11)))
    tenth = np.searchsorted(edges[1:-1], expression, side="left")  # (N,)
    draw = np.random.default_rng(recipe.sub_seed(seed, "split")).random(total)
    # The examples are in random order within a tenth, and tenth follows tenth. Every split takes
    # its share at even steps, so its count in a tenth is off by one at most and its total is exact.
    free = np.lexsort((draw, tenth))  # (N,): indices of examples that no split has taken
    labels = np.zeros(total, np.uint8)
    for label, size in enumerate(sizes[1:], 1):
        places = (np.arange(size) * len(free) + len(free) // 2) // size
        labels[free[places]] = label
        free = np.delete(free, places)
    return labels


def _sizes(total: int, fractions: dict[str, Fraction]) -> list[int]:
    """Returns the exact size of each split: all but the first take ceil(fraction * total)."""
    sizes = [math.ceil(fraction * total) for fraction in list(fractions.values())[1:]]
    if sum(sizes) >= total:
        noun = "sequence is" if total == 1 else "sequences are"
        raise errors.UserError(
            f"{total:,} {noun} too few to fill the splits {', '.join(fractions)}."
        )
    return [total - sum(sizes), *sizes]


def by_hash(hashes: np.ndarray, fractions: dict[str, Fraction]) -> np.ndarray:
    """Returns the index of each example's split, from hashes: uint64 (N,) → uint8 (N,).

    The split of a sequence depends only on its letters and the seed, so it does not change when the
    library grows, and equal sequences stay together. Counts are exact only on average.
    """
    ends = np.cumsum([float(fraction) for fraction in fractions.values()])[:-1]
    uniform = (hashes >> np.uint64(11)) * 2.0**-53  # (N,) in [0, 1): the 53 bits of a float64
    return np.searchsorted(ends, uniform, side="right").astype(np.uint8)


def by_family(families: np.ndarray, fractions: dict[str, Fraction], seed: int) -> np.ndarray:
    """Returns the index of each example's split, uint8 (N,), so that no family is divided.

    Families are drawn in random order. A family that is larger than a tenth of a split goes to the
    first split, so that it does not dominate another. Counts are those of `random` if there are
    enough families of one sequence; otherwise the splits but the first are smaller.

    Args:
        families: (N,), the family of each example, numbered from 0.
        fractions: the splits and their fractions.
        seed: the seed of the draw.
    """
    _, *sizes = _sizes(len(families), fractions)
    members = np.bincount(families)  # (F,): sequences in each family
    draw = np.random.default_rng(recipe.sub_seed(seed, "split"))
    free = draw.permutation(np.flatnonzero(members <= max(min(sizes, default=0) // 10, 1)))
    labels = np.zeros(len(members), np.uint8)  # (F,)
    for label, size in enumerate(sizes, 1):
        # As many families as fit in a row, then families of one sequence to fill the gap.
        count = int(np.searchsorted(np.cumsum(members[free]), size, side="right"))
        head, free = free[:count], free[count:]
        singles = np.flatnonzero(members[free] == 1)[: size - int(members[head].sum())]
        labels[head] = labels[free[singles]] = label
        free = np.delete(free, singles)
    return labels[families]  # (F,)[(N,)] → (N,)


def by_column(words: list[str]) -> tuple[np.ndarray, dict[str, Fraction]]:
    """Returns the index of each example's split, uint8 (N,), and the fractions of the splits.

    Args:
        words: N names of splits. `train` becomes the first split; the others follow by name.

    Raises:
        errors.UserError: a word that is not a name of a split.
    """
    counts = collections.Counter(words)
    if strange := [word for word in counts if not re.fullmatch(_NAME, word)]:
        raise errors.UserError(
            f"the split column has {strange[0]!r}; expected names such as train, val and test: "
            "lower-case letters, digits and _."
        )
    names = sorted(counts, key=lambda name: (name != "train", name))
    place = {name: i for i, name in enumerate(names)}
    labels = np.array([place[word] for word in words], np.uint8)
    return labels, {name: Fraction(counts[name], len(words)) for name in names}


def hashes(letters: np.ndarray, seed: int) -> np.ndarray:
    """Returns a 64-bit hash of each sequence: letters uint8 (N, L) → uint64 (N,).

    Every 8 letters, as a little-endian number, are mixed into the state by the finaliser of
    SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2714064.2660195).
    """
    rows = np.zeros((len(letters), -(-letters.shape[1] // 8) * 8), np.uint8)  # a multiple of 8
    rows[:, : letters.shape[1]] = letters
    state = np.full(len(letters), recipe.sub_seed(seed, "hash"), np.uint64)
    for column in rows.view("<u8").T:  # (N,), 8 letters
        state = (state ^ column) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return state

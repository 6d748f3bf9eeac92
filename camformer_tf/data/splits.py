"""Which example goes to which split: at random, by tenths, by hash, by family or as told."""

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
        errors.UserError: the text is of another form, or the fractions do not sum to 1.
    """
    fractions = {}
    for part in text.split(","):
        match = re.fullmatch(rf"\s*({_NAME})\s*=\s*(\d*\.?\d+)\s*", part)
        if not match or match[1] in fractions:
            raise errors.UserError(
                f"--split {text}: expected NAME=FRACTION,…, each name once, in lower case, such as "
                f"train=0.9,val=0.1; found {part!r}."
            )
        fractions[match[1]] = Fraction(match[2])
    if sum(fractions.values()) != 1 or min(fractions.values()) <= 0:
        raise errors.UserError(
            f"--split {text}: the fractions must be above 0 and sum to 1, "
            f"found {float(sum(fractions.values())):g} in all."
        )
    return fractions


def random(kept: int, fractions: dict[str, Fraction], seed: int) -> np.ndarray:
    """Returns the index of each example's split: uint8 (kept,), in random order, exact counts.

    Every split but the first gets ceil(fraction * kept), the first what is left: scikit-learn's
    rule, by which 6,605,587 sequences give 5,945,028 for training and 660,559 for validation.
    """
    labels = np.repeat(np.arange(len(fractions), dtype=np.uint8), _sizes(kept, fractions))
    np.random.default_rng(recipe.sub_seed(seed, "split")).shuffle(labels)
    return labels


def stratified(expression: np.ndarray, fractions: dict[str, Fraction], seed: int) -> np.ndarray:
    """Returns the index of each example's split: uint8 (N,), counts as in `random`, each split with
    its share of every tenth of the expression.

    Tenths are split at the quantiles of `pd.qcut(expression, 10, duplicates="drop")`; equal values
    lie in one tenth. Source: make_stratified_splits, base/utils.py:426-451,
    Bornelov-lab/Camformer@feaa529.
    """
    total = len(expression)
    _sizes(total, fractions)
    edges = np.unique(np.quantile(expression.astype(np.float64), np.linspace(0, 1, 11)))
    tenth = np.searchsorted(edges[1:-1], expression, side="left")
    draw = np.random.default_rng(recipe.sub_seed(seed, "split")).random(total)
    # In random order within a tenth, tenth after tenth, every split takes its share at even steps:
    # so each tenth's count is that share but for one, and the total is exact.
    order = np.lexsort((draw, tenth))
    labels = np.zeros(total, np.uint8)
    free = order
    for label, size in enumerate(_sizes(total, fractions)[1:], 1):
        taken = (np.arange(size) * len(free) + len(free) // 2) // size
        labels[free[taken]] = label
        free = np.delete(free, taken)
    return labels


def _sizes(kept: int, fractions: dict[str, Fraction]) -> list[int]:
    """Returns the exact size of each split: all but the first take ceil(fraction * kept)."""
    sizes = [math.ceil(fraction * kept) for fraction in list(fractions.values())[1:]]
    if sum(sizes) >= kept:
        raise errors.UserError(
            f"{kept} sequences are too few to fill the splits {', '.join(fractions)}."
        )
    return [kept - sum(sizes), *sizes]


def by_hash(hashes: np.ndarray, fractions: dict[str, Fraction]) -> np.ndarray:
    """Returns the index of each example's split: uint8 (N,), from hashes, uint64 (N,).

    A sequence's split depends on nothing but its letters and the seed, so it stays where it is when
    the library grows, and equal sequences stay together. Counts are exact only on average.
    """
    ends = np.cumsum([float(fraction) for fraction in fractions.values()])[:-1]
    return np.searchsorted(ends, (hashes >> np.uint64(11)) * 2.0**-53, side="right").astype(
        np.uint8
    )


def by_family(families: np.ndarray, fractions: dict[str, Fraction], seed: int) -> np.ndarray:
    """Returns the index of each example's split: uint8 (N,); a family, (N,) labels from 0, is never
    divided.

    Families are taken in random order. One that is larger than a tenth of a split goes to the
    first split, lest it be most of what another is judged by. Counts are those of `random` if
    there are enough families of one, and fall short of them otherwise.
    """
    _, *sizes = _sizes(len(families), fractions)
    members = np.bincount(families)
    draw = np.random.default_rng(recipe.sub_seed(seed, "split"))
    free = draw.permutation(np.flatnonzero(members <= max(min(sizes, default=0) // 10, 1)))
    home = np.zeros(len(members), np.uint8)
    for label, size in enumerate(sizes, 1):
        whole = int(np.searchsorted(np.cumsum(members[free]), size, side="right"))
        taken, free = free[:whole], free[whole:]
        alone = np.flatnonzero(members[free] == 1)[: size - int(members[taken].sum())]
        home[taken] = home[free[alone]] = label
        free = np.delete(free, alone)
    return home[families]


def by_column(words: list[str]) -> tuple[np.ndarray, dict[str, Fraction]]:
    """Returns the index of each example's split, uint8 (N,), and the fractions that the splits turn
    out to have; words, N of them, name the splits: `train` comes first, then the others by name.

    Raises:
        errors.UserError: a word that is no name of a split.
    """
    counts = collections.Counter(words)
    if strange := [word for word in counts if not re.fullmatch(_NAME, word)]:
        raise errors.UserError(
            f"the split column says {strange[0]!r}, expected names such as train, val and test: "
            "lower-case letters, digits and _."
        )
    names = sorted(counts, key=lambda name: (name != "train", name))
    place = {name: i for i, name in enumerate(names)}
    labels = np.array([place[word] for word in words], np.uint8)
    return labels, {name: Fraction(counts[name], len(words)) for name in names}


def hashes(letters: np.ndarray, seed: int) -> np.ndarray:
    """Returns a 64-bit hash of each sequence: letters uint8 (N, L) → uint64 (N,).

    Each 8 letters, as a little-endian number, are mixed into the state by the finaliser of
    SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2714064.2660195).
    """
    rows = np.zeros((len(letters), -(-letters.shape[1] // 8) * 8), np.uint8)
    rows[:, : letters.shape[1]] = letters
    state = np.full(len(letters), recipe.sub_seed(seed, "hash"), np.uint64)
    for column in rows.view("<u8").T:
        state = (state ^ column) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return state

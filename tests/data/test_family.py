import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse import csgraph

from camformer_tf import errors
from camformer_tf.data import family, strands
from camformer_tf.simulation import grammar

COMPLEMENT = np.zeros(256, np.uint8)
COMPLEMENT[list(b"ACGTN")] = list(b"TGCAN")
ALL = {"_SMALL": 0, "_DIRECT": 0, "_USELESS": 0.99, "_TILE": (3, 5)}  # every group is cut again
PAIRS = {"_SMALL": 500, "_DIRECT": 0, "_USELESS": 0.99, "_TILE": (3, 5)}
LIMITS = st.sampled_from([{}, ALL, PAIRS, {"_DIRECT": 2, "_SMALL": 4, "_TILE": (2, 64)}])
COUNTS = st.sampled_from([0, 1, 2, 3, 5])  # mismatches


def families(letters: np.ndarray, **options) -> np.ndarray:
    return family.families(strands.pack_library(letters), **options)


def leaks(letters: np.ndarray, training: np.ndarray, **options) -> np.ndarray:
    return family.leaks(strands.pack_library(letters), training, **options)


def core(letters: np.ndarray) -> slice:
    return strands.columns(strands.count(letters), len(letters)).core


def reverse_complement(letters: np.ndarray) -> np.ndarray:
    return COMPLEMENT[letters[:, ::-1]]


def near_pairs(letters: np.ndarray, core: slice, mismatches: int) -> np.ndarray:
    """All pairs, letter by letter: bool (N, N)."""
    inner = letters[:, core]
    is_near = (letters[:, None] != letters).sum(axis=2) <= mismatches
    return is_near | ((inner[:, None] != reverse_complement(inner)).sum(axis=2) <= mismatches)


def component_families(letters: np.ndarray, core: slice, mismatches: int) -> np.ndarray:
    graph = sparse.coo_array(near_pairs(letters, core, mismatches))
    return renumber(csgraph.connected_components(graph, directed=False)[1])


def renumber(labels: np.ndarray) -> np.ndarray:
    """Numbers labels by first appearance."""
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels.tolist()])


def random_library(
    seed: int, length: int, mismatches: int, has_flanks: bool, with_n: bool
) -> np.ndarray:
    """A library with random sequences, duplicates, chains of mutants and reverse complements."""
    rng = np.random.default_rng(seed)
    alphabet = np.frombuffer(b"ACGTN" if with_n else b"ACGT", np.uint8)
    letters = alphabet[rng.integers(0, len(alphabet), (rng.integers(1, 200), length))]
    inner = slice(17, length - 13) if has_flanks else slice(0, length)
    if has_flanks:
        letters[:, :17], letters[:, -13:] = letters[0, :17], letters[0, -13:]
    for row in range(1, len(letters)):
        kind, parent = rng.integers(0, 6), rng.integers(0, row)
        if kind >= 2:
            letters[row] = letters[parent]
        if kind == 5:
            letters[row, inner] = reverse_complement(letters[[parent], inner])[0]
        if kind >= 3:
            places = rng.choice(length, rng.integers(0, mismatches + 2), replace=False)
            letters[row, places] = rng.choice(alphabet, len(places))
    return letters[rng.permutation(len(letters))]


def promoters(cores: np.ndarray) -> np.ndarray:
    letters = np.tile(
        np.frombuffer(grammar.PREFIX + bytes(80) + grammar.SUFFIX, np.uint8), (len(cores), 1)
    )
    letters[:, grammar.REGION] = cores
    return letters


def random_cores(count: int, seed: int = 0) -> np.ndarray:
    return np.frombuffer(b"ACGT", np.uint8)[np.random.default_rng(seed).integers(0, 4, (count, 80))]


def mutate(letters: np.ndarray, *columns: int) -> np.ndarray:
    mutants = letters.copy()
    mutants[..., list(columns)] = COMPLEMENT[mutants[..., list(columns)]]
    return mutants


# --- families ---


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 2**32),
    length=st.integers(20, 130),
    mismatches=COUNTS,
    has_flanks=st.booleans(),
    with_n=st.booleans(),
    limits=LIMITS,
)
def test_families_are_the_connected_components_of_all_near_pairs(
    seed, length, mismatches, has_flanks, with_n, limits
):
    letters = random_library(seed, length, mismatches, has_flanks and length >= 55, with_n)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in limits.items():
            patch.setattr(family, name, value)
        labels = families(letters, mismatches=mismatches)
    np.testing.assert_array_equal(labels, component_families(letters, core(letters), mismatches))


@pytest.mark.parametrize("mismatches", [0, 1, 3])
def test_families_of_a_design_with_many_variants_are_its_connected_components(mismatches):
    rng = np.random.default_rng(1)
    cores = np.repeat(random_cores(3), 500, axis=0)  # groups that are cut again
    for row in cores:
        columns = rng.choice(80, rng.integers(0, 9), replace=False)
        row[columns] = rng.choice(list(b"ACGT"), len(columns))
    letters = promoters(cores)
    np.testing.assert_array_equal(
        families(letters, mismatches=mismatches),
        component_families(letters, grammar.REGION, mismatches),
    )


def test_families_do_not_depend_on_the_order_of_the_sequences():
    letters = random_library(5, 110, 3, has_flanks=True, with_n=True)
    order = np.random.default_rng(0).permutation(len(letters))
    np.testing.assert_array_equal(families(letters[order]), renumber(families(letters)[order]))


def test_families_are_the_same_every_time_and_the_letters_do_not_change():
    letters = random_library(6, 110, 3, has_flanks=True, with_n=True)
    copy = letters.copy()
    np.testing.assert_array_equal(families(letters), families(letters))
    np.testing.assert_array_equal(letters, copy)


def test_three_mismatches_are_one_family_and_four_are_two():
    letters = promoters(random_cores(50))
    three, four = mutate(letters[:1], 20, 50, 90), mutate(letters[1:2], 20, 50, 60, 90)
    labels = families(np.concatenate([letters, three, four]))
    assert labels[50] == labels[0]
    assert labels[51] == 50


def test_reverse_complements_of_the_core_are_one_family_with_any_flanks():
    cores = random_cores(50)
    reverse = promoters(reverse_complement(cores[:1]))
    labels = families(np.concatenate([promoters(cores), mutate(reverse, 0, 1, 2, 3, 40)]))
    assert labels[50] == labels[0]


def test_mismatches_in_a_flank_count_on_the_same_strand():
    letters = promoters(random_cores(50))
    three, four = mutate(letters[:1], 0, 50, 109), mutate(letters[1:2], 0, 1, 50, 109)
    labels = families(np.concatenate([letters, three, four]))
    assert labels[50] == labels[0]
    assert labels[51] == 50


def test_n_equals_only_n():
    letters = promoters(random_cores(50))
    letters[0, 20:24] = ord("N")
    mutants = letters[[0, 0]]
    mutants[0, 20:24], mutants[1, 60:63] = list(b"ACGT"), list(b"NNN")
    assert families(np.concatenate([letters, mutants])).tolist() == [*range(50), 50, 0]


def test_a_copy_with_a_letter_deleted_is_another_family():
    letters = promoters(random_cores(50))
    end = np.full((1, 1), ord("N"))
    copy = np.concatenate([letters[:1, :40], letters[:1, 41:], end], axis=1)
    assert families(np.concatenate([letters, copy]))[50] == 50


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_library_may_be_empty_or_tiny(count):
    letters = np.tile(np.frombuffer(b"ACGTN" * 22, np.uint8), (count, 1))
    assert families(letters).tolist() == [0] * count
    assert leaks(letters, np.ones(count, bool)).tolist() == [False] * count


def test_duplicates_alone_are_one_family():
    assert not families(np.repeat(promoters(random_cores(1)), 3000, axis=0)).any()


# --- cost ---


@pytest.mark.parametrize("free", [10, 20])
def test_sequences_that_share_most_of_their_letters_are_not_compared_pair_by_pair(caplog, free):
    count = 5000
    cores = np.repeat(random_cores(1), count, axis=0)
    cores[:, :: 80 // free] = random_cores(count, seed=1)[:, :free]
    with caplog.at_level(logging.DEBUG, "camformer_tf.data.family"):
        families(promoters(cores))
    assert comparisons(caplog) < count**2 / 10


def test_single_variants_of_a_few_sequences_cost_a_few_comparisons_each(caplog):
    cores = np.repeat(random_cores(20), 240, axis=0)
    for row, core in enumerate(cores):
        core[row % 240 // 3] = np.frombuffer(b"ACGT", np.uint8)[row % 4]
    with caplog.at_level(logging.DEBUG, "camformer_tf.data.family"):
        labels = families(promoters(cores))
    np.testing.assert_array_equal(labels, np.repeat(np.arange(20), 240))
    assert comparisons(caplog) < 100 * len(cores)


def test_random_sequences_are_hardly_comparisons(caplog):
    with caplog.at_level(logging.DEBUG, "camformer_tf.data.family"):
        labels = families(promoters(random_cores(20_000)))
    np.testing.assert_array_equal(labels, np.arange(20_000))
    assert comparisons(caplog) < 100


def comparisons(caplog) -> int:
    (record,) = caplog.records
    return record.args[0]


# --- leakage ---


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 2**32),
    length=st.integers(20, 130),
    mismatches=COUNTS,
    with_n=st.booleans(),
    share=st.floats(0, 1),
    limits=LIMITS,
)
def test_leaks_are_the_sequences_with_a_near_pair_in_training(
    seed, length, mismatches, with_n, share, limits
):
    letters = random_library(seed, length, mismatches, has_flanks=length >= 55, with_n=with_n)
    training = np.random.default_rng(seed).random(len(letters)) < share
    with pytest.MonkeyPatch.context() as patch:
        for name, value in limits.items():
            patch.setattr(family, name, value)
        result = leaks(letters, training, mismatches=mismatches)
    pairs = near_pairs(letters, core(letters), mismatches)
    np.testing.assert_array_equal(result, pairs[:, training].any(axis=1) & ~training)


def test_a_split_by_family_leaks_nothing_and_a_random_one_does():
    letters = random_library(7, 110, 3, has_flanks=True, with_n=True)
    labels = families(letters)
    rng = np.random.default_rng(0)
    assert leaks(letters, rng.random(len(letters)) < 0.5).any()
    assert not leaks(letters, (rng.random(labels.max() + 1) < 0.5)[labels]).any()


def test_a_sequence_near_a_leak_but_not_near_training_is_not_a_leak():
    cores = random_cores(50)
    step = mutate(cores[:1], 0, 1, 2)
    letters = promoters(np.concatenate([cores, step, mutate(step, 3, 4, 5)]))
    assert np.flatnonzero(leaks(letters, np.arange(52) < 50)).tolist() == [50]


def test_duplicates_on_both_sides_of_a_split_leak():
    letters = promoters(random_cores(50))[np.arange(100) % 50]
    training = np.arange(100) >= 51
    assert np.flatnonzero(~leaks(letters, training) & ~training).tolist() == [0, 50]


# --- the core, and refusals ---


def test_the_core_lies_between_the_flanks():
    assert core(promoters(random_cores(100))) == grammar.REGION


def test_the_core_is_found_although_a_sixth_of_the_sequences_lack_a_letter():
    # 1,011 of 6,238 in data/demo_train.txt of de-Boer-Lab/random-promoter-dream-challenge-2022
    letters = promoters(random_cores(6000))
    letters[:1000] = np.roll(letters[:1000], -1, axis=1)
    letters[:1000, :17], letters[:1000, -1] = letters[-1, :17], ord("N")
    assert core(letters) == slice(17, 97)


def test_without_flanks_the_core_is_everything():
    assert core(random_cores(100)) == slice(0, 80)
    assert core(np.repeat(random_cores(1), 100, axis=0)) == slice(0, 80)


def test_letters_in_lower_case_are_refused():
    with pytest.raises(ValueError, match="upper case, received b'a'"):
        families(np.frombuffer(b"ACGTa" * 22, np.uint8)[None])


def test_mismatches_below_zero_are_refused():
    with pytest.raises(errors.UserError, match="--mismatches -1: expected 0 or more"):
        families(random_cores(2), mismatches=-1)

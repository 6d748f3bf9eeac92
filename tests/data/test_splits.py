from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from camformer_tf import errors, recipe
from camformer_tf.data import splits

NINE_ONE = splits.parse_fractions("train=0.9,val=0.1")
DESIGN = splits.parse_fractions("train=0.72,val=0.08,test=0.2")  # PO p.5, for model design


def random_letters(count: int, seed: int = 0) -> np.ndarray:
    return np.frombuffer(b"ACGT", np.uint8)[
        np.random.default_rng(seed).integers(0, 4, (count, 110))
    ]


def sizes(labels: np.ndarray) -> list[int]:
    return np.bincount(labels).tolist()


# --- fractions ---


@pytest.mark.parametrize(
    "text, expected",
    [
        ("train=0.9,val=0.1", {"train": Fraction(9, 10), "val": Fraction(1, 10)}),
        (" train = .9 , val=0.10 ", {"train": Fraction(9, 10), "val": Fraction(1, 10)}),
        ("all=1", {"all": Fraction(1)}),
        (
            "b=0.7,a_2=0.2,c=0.1",
            {"b": Fraction(7, 10), "a_2": Fraction(1, 5), "c": Fraction(1, 10)},
        ),
    ],
)
def test_fractions_are_exact_and_in_order(text, expected):
    assert list(splits.parse_fractions(text).items()) == list(expected.items())


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "found ''"),
        ("train", "found 'train'"),
        ("train=0.9,", "found ''"),
        ("train=0.9;val=0.1", "found 'train=0.9;val=0.1'"),
        ("train=90%,val=10%", "found 'train=90%'"),
        ("train=9e-1,val=0.1", "found 'train=9e-1'"),
        ("train=-0.9,val=1.9", "found 'train=-0.9'"),
        ("Train=1", "found 'Train=1'"),
        ("../x=1", "found '../x=1'"),
        ("train=0.5,train=0.5", "found 'train=0.5'"),
        ("train=0.9,val=0.2", "sum to 1, not to 1.1."),
        ("train=0.9", "sum to 1, not to 0.9."),
        ("train=1,val=0", "must be above 0 and sum to 1"),
    ],
)
def test_fractions_of_another_form_are_refused(text, message):
    with pytest.raises(errors.UserError) as error:
        splits.parse_fractions(text)
    assert str(error.value).startswith(f"--split {text}: ") and message in str(error.value)


@pytest.mark.parametrize("text", [recipe.RecordsConfig.split, "train=0.1,val=0.2,test=0.7"])
def test_decimal_fractions_sum_to_one_exactly(text):
    assert sum(splits.parse_fractions(text).values()) == 1  # 0.1 + 0.2 + 0.7 < 1 in floats


# --- random ---


def test_the_full_training_set_is_split_as_in_2022():
    # stdout of script:549 (scikit-learn's train_test_split), FredrikSvenssonUK/
    # DREAM2022_Camformers@6fd5d69: 5,945,028 for training and 660,559 for validation
    assert sizes(splits.random(6_605_587, NINE_ONE, 42)) == [5_945_028, 660_559]


@pytest.mark.parametrize(
    "total, fractions, expected",
    [
        (1000, DESIGN, [720, 80, 200]),
        (101, DESIGN, [71, 9, 21]),
        (100, splits.parse_fractions("train=0.93,val=0.07"), [93, 7]),  # 100 * 0.07 > 7 in floats
        (10, NINE_ONE, [9, 1]),
        (2, NINE_ONE, [1, 1]),
        (5, splits.parse_fractions("all=1"), [5]),
    ],
)
def test_counts_are_exact(total, fractions, expected):
    assert sizes(splits.random(total, fractions, 42)) == expected


@given(st.integers(2, 5000), st.integers(1, 999))
def test_validation_gets_the_ceiling_of_its_share(total, thousandths):
    share = Fraction(thousandths, 1000)
    fractions = {"train": 1 - share, "val": share}
    expected = -(-total * thousandths // 1000)
    if expected >= total:
        with pytest.raises(errors.UserError, match=f"{total} sequences are too few to fill"):
            splits.random(total, fractions, 1)
    else:
        assert sizes(splits.random(total, fractions, 1)) == [total - expected, expected]


@pytest.mark.parametrize("total, words", [(0, "0 sequences are"), (1, "1 sequence is")])
def test_too_few_sequences_are_refused(total, words):
    with pytest.raises(errors.UserError, match=f"{words} too few to fill the splits train, val."):
        splits.random(total, NINE_ONE, 42)


def test_the_same_seed_gives_the_same_split():
    first, second = (splits.random(1000, DESIGN, 42) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_another_seed_gives_another_split_of_the_same_counts():
    first, second = (splits.random(1000, DESIGN, seed) for seed in (42, 23))
    assert (first != second).any() and sizes(first) == sizes(second)


def test_a_split_is_spread_over_the_whole_file():
    val = np.flatnonzero(splits.random(100_000, NINE_ONE, 42) == 1)
    assert stats.kstest(val / 100_000, "uniform").pvalue > 1e-4


# --- hash ---


def splitmix64(sequence: bytes, seed: int) -> int:
    """The documented hash in plain Python: every 8 letters through SplitMix64's finaliser.

    Source of the constants: Steele, Lea and Flood 2014, doi:10.1145/2714064.2660195.
    """
    state, mask = recipe.sub_seed(seed, "hash"), 2**64 - 1
    for start in range(0, len(sequence), 8):
        word = int.from_bytes(sequence[start : start + 8].ljust(8, b"\0"), "little")
        z = ((state ^ word) + 0x9E3779B97F4A7C15) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        state = z ^ (z >> 31)
    return state


@given(st.binary(min_size=1, max_size=120), st.integers(0, 2**40))
def test_hashes_are_those_of_plain_integers(sequence, seed):
    letters = np.frombuffer(sequence, np.uint8)[None]
    assert splits.hashes(letters, seed).tolist() == [splitmix64(sequence, seed)]


def test_a_hash_never_changes():
    # 8 letters equal to the seeded state give the first output of SplitMix64 for seed 0, which is
    # 0xE220A8397B1DCDAF (prng.di.unimi.it/splitmix64.c; java.util.SplittableRandom(0) agrees).
    state = recipe.sub_seed(42, "hash").to_bytes(8, "little")
    letters = np.frombuffer(state, np.uint8)[None]
    assert splits.hashes(letters, 42).tolist() == [0xE220A8397B1DCDAF]


def test_a_hash_does_not_depend_on_other_rows_or_on_memory_layout():
    letters = random_letters(50)
    hashes = splits.hashes(letters, 42)
    rows = np.asfortranarray(letters)[::2]
    np.testing.assert_array_equal(splits.hashes(rows, 42), hashes[::2])


def test_hashes_do_not_change_their_letters():
    letters = random_letters(5)
    letters.setflags(write=False)
    splits.hashes(letters, 42)


def test_a_hash_split_does_not_move_when_the_file_grows():
    letters = random_letters(2000)
    library = splits.by_hash(splits.hashes(letters, 42), DESIGN)
    part = splits.by_hash(splits.hashes(letters[500:900], 42), DESIGN)
    np.testing.assert_array_equal(part, library[500:900])


def test_equal_sequences_share_a_split():
    letters = random_letters(500)
    labels = splits.by_hash(splits.hashes(np.concatenate([letters, letters]), 42), DESIGN)
    np.testing.assert_array_equal(labels[:500], labels[500:])


def test_another_seed_moves_sequences():
    letters = random_letters(1000)
    first, second = (splits.by_hash(splits.hashes(letters, seed), NINE_ONE) for seed in (42, 23))
    assert (first != second).mean() == pytest.approx(2 * 0.9 * 0.1, abs=0.06)


@pytest.mark.parametrize("seed", [42, 23])
def test_a_hash_split_has_its_fractions_within_chance(seed):
    counts = sizes(splits.by_hash(splits.hashes(random_letters(20_000), seed), DESIGN))
    for count, fraction in zip(counts, DESIGN.values(), strict=True):
        assert stats.binomtest(count, 20_000, float(fraction)).pvalue > 1e-4


def test_sequences_of_one_letter_difference_split_independently():
    letters = random_letters(5000)
    mutants = letters.copy()
    mutants[:, 50] = np.where(letters[:, 50] == ord("A"), ord("C"), ord("A"))
    first, second = (splits.by_hash(splits.hashes(x, 42), NINE_ONE) for x in (letters, mutants))
    table = np.histogram2d(first, second, 2)[0]
    assert stats.chi2_contingency(table).pvalue > 1e-4


@pytest.mark.parametrize("value, label", [(0, 0), (2**64 - 1, 2)])
def test_the_ends_of_the_hashes_fall_into_the_first_and_the_last_split(value, label):
    assert splits.by_hash(np.array([value], np.uint64), DESIGN).tolist() == [label]


def test_labels_are_bytes():
    assert splits.random(10, NINE_ONE, 1).dtype == np.uint8
    assert splits.by_hash(np.zeros(3, np.uint64), NINE_ONE).dtype == np.uint8


def test_a_stratified_split_has_the_counts_of_a_random_one():
    expression = np.random.default_rng(0).normal(size=1003).astype(np.float32)
    fractions = splits.parse_fractions("train=0.72,val=0.08,test=0.2")
    labels = splits.stratify(expression, fractions, 42)
    assert np.bincount(labels).tolist() == np.bincount(splits.random(1003, fractions, 42)).tolist()


@pytest.mark.parametrize("kind", ["smooth", "integers", "two values"])
def test_a_stratified_split_takes_its_share_of_every_tenth(kind):
    draw = np.random.default_rng(1)
    expression = {
        "smooth": draw.normal(11, 2, 20_000),
        "integers": draw.integers(0, 18, 20_000),
        "two values": draw.integers(0, 2, 20_000),
    }[kind].astype(np.float32)
    fractions = splits.parse_fractions("train=0.9,val=0.05,test=0.05")
    labels = splits.stratify(expression, fractions, 42)
    tenths = pd.qcut(expression, 10, labels=False, duplicates="drop")  # the original's rule
    for tenth in np.unique(tenths):
        counts = np.bincount(labels[tenths == tenth], minlength=3)
        share = counts.sum() * np.array([0.9, 0.05, 0.05])
        # Each split's places are evenly spaced: an end of a tenth may take or lose one, twice for
        # the first split, which takes the remainder.
        assert (np.abs(counts - share) <= [3, 2, 2]).all()


def test_a_stratified_split_is_random_within_a_tenth_and_depends_on_the_seed():
    expression = np.arange(10_000, dtype=np.float32)
    fractions = splits.parse_fractions("train=0.5,val=0.5")
    first, second, third = (splits.stratify(expression, fractions, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert 0.45 < (first == third).mean() < 0.55
    runs = np.abs(np.diff(first.astype(int))).sum()  # of a fair coin: 5,000, sd 50
    assert 4_700 < runs < 5_300


@pytest.mark.parametrize("sizes", [[1] * 900 + [100], [3] * 300 + [1] * 100, [7] * 150, [1000]])
def test_a_family_is_never_divided(sizes):
    families = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    fractions = splits.parse_fractions("train=0.8,val=0.1,test=0.1")
    labels = splits.by_family(families, fractions, 42)
    for family in range(len(sizes)):
        assert len(set(labels[families == family].tolist())) == 1
    size = -(-len(families) // 10)
    for label in (1, 2):
        assert size - max(sizes) < (labels == label).sum() <= size
    if 1 in sizes:
        assert (labels == 1).sum() == size  # families of one fill the gap


def test_a_large_family_goes_to_the_first_split():
    families = np.concatenate([np.zeros(300, int), np.arange(1, 701)])
    fractions = splits.parse_fractions("train=0.5,val=0.5")
    for seed in range(5):
        assert (splits.by_family(families, fractions, seed)[:300] == 0).all()


def test_a_column_of_words_is_the_split_with_train_first():
    labels, fractions = splits.by_column(["val", "train", "test_2", "train"])
    assert list(fractions) == ["train", "test_2", "val"] and labels.tolist() == [2, 0, 1, 0]
    assert float(fractions["train"]) == 0.5


@pytest.mark.parametrize("word", ["Train", "1", "my-val", ""])
def test_a_word_that_is_not_a_name_of_a_split_is_refused(word):
    with pytest.raises(errors.UserError, match=f"the split column has {word!r}"):
        splits.by_column(["train", word])

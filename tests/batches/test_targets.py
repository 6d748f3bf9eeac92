import numpy as np
import pytest
from scipy import stats

from camformer_tf import errors, recipe
from camformer_tf.batches import targets
from camformer_tf.data import records, text


def measured(count: int = 2_000, seed: int = 0) -> np.ndarray:
    """Expressions like the assay's: many of them whole numbers, so with many ties."""
    rng = np.random.default_rng(seed)
    values = rng.gamma(9, 1.2, count)
    return np.where(rng.random(count) < 0.6, np.round(values), values).astype(np.float32)


def test_targets_are_the_normal_quantiles_of_ranks_with_the_mean_and_sd_of_the_set():
    y = measured()
    normal = stats.norm.ppf((stats.rankdata(y) - 0.5) / len(y))
    expected = y.mean(dtype=float) + y.std(dtype=float) * stats.zscore(normal)
    np.testing.assert_allclose(targets.quantiles(y).of(y), expected, rtol=1e-6)


def test_targets_of_distinct_expressions_are_normal_and_those_of_equal_ones_equal():
    y = np.random.default_rng(1).exponential(size=5_000).astype(np.float32)
    made = targets.quantiles(y).of(y)
    assert stats.kstest((made - y.mean()) / y.std(), "norm").pvalue > 0.5
    ties = measured()
    made = targets.quantiles(ties).of(ties)
    assert len(np.unique(made)) == len(np.unique(ties))
    assert stats.spearmanr(ties, made).statistic == pytest.approx(1, abs=1e-12)


def test_an_expression_that_training_lacks_lies_between_its_neighbours_or_at_the_end():
    known = targets.quantiles(np.float32([1, 2, 4, 4]))
    first, second, third = known.of(np.float32([1, 2, 4]))
    between = known.of(np.float32([1.25, 3, 0, 9]))
    expected = [first + (second - first) / 4, (second + third) / 2, first, third]
    np.testing.assert_allclose(between, expected, rtol=1e-6)


def test_equal_expressions_stay_what_they_are():
    assert targets.quantiles(np.full(9, 3.5, np.float32)).of(np.float32([3.5])) == [3.5]


def test_the_validation_set_is_mapped_as_training_is_and_else_unchanged():
    y = measured()
    examples = text.Examples(np.zeros((9, 4), np.uint8), y[:9], np.arange(9, dtype=np.float32))
    known = targets.Targets(targets.quantiles(y))
    made = known.validation(examples)
    np.testing.assert_array_equal(made.expression, known.quantiles.of(y)[:9])
    assert made.letters is examples.letters and made.weight is examples.weight
    assert targets.Targets().validation(examples) is examples


def test_tails_are_beyond_the_quantiles_of_the_set():
    y = np.arange(1000, dtype=np.float32)
    made = targets.tails(recipe.TailsConfig(below=0.05, above=0.99, times=3), y)
    times = made.times_of(y)
    assert (times[:50] == 3).all() and (times[50:990] == 1).all() and (times[990:] == 3).all()


def test_a_part_of_real_size_is_as_large_as_it_says_and_even_over_the_library():
    letters = np.random.default_rng(0).choice(np.frombuffer(b"ACGT", np.uint8), (40_000, 110))
    letters[:, :100] = letters[0, :100]  # sequences that differ at few places
    examples = text.Examples(letters, np.zeros(len(letters), np.float32), None)
    inside = targets.Seen(fraction=0.3, seed=1).times_of(examples)
    each = inside.reshape(40, -1).sum(1)
    # Binomial (1,000, 0.3): sd 14.5; of the whole 91.7. 5 sd of each.
    assert abs(inside.sum() - 12_000) < 460 and np.abs(each - 300).max() < 73
    last = [inside[letters[:, -1] == ord(letter)].mean() for letter in "ACGT"]
    assert np.abs(np.array(last) - 0.3).max() < 0.023


def test_the_default_tails_hold_nothing():
    y = measured()
    assert (targets.tails(recipe.TailsConfig(times=5), y).times_of(y) == 1).all()


def test_records_are_read_only_for_a_trick_that_needs_them(library, tmp_path):
    others = recipe.TricksConfig(target_noise=1.0, shift=3, tails=recipe.TailsConfig(0.1, 0.9))
    assert targets.load(others, tmp_path / "none", "train") == targets.Targets()
    asked = recipe.TricksConfig(quantile_targets=True, tails=recipe.TailsConfig(0.1, 0.9, 2))
    known = targets.load(asked, library, "train")
    y = records.read(library, "train").expression
    np.testing.assert_array_equal(known.quantiles.of(y), targets.quantiles(y).of(y))
    assert known.tails == targets.tails(asked.tails, y)


@pytest.mark.parametrize(("below", "above"), [(0.0, 1.0), (0.9, 0.1), (0.5, 0.5)])
def test_tails_of_nothing_or_of_everything_are_refused(library, below, above):
    asked = recipe.TricksConfig(tails=recipe.TailsConfig(below, above, times=3))
    with pytest.raises(
        errors.UserError, match=f"tricks.tails: below {below:g} and above {above:g}"
    ):
        targets.load(asked, library, "train")

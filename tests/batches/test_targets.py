import numpy as np
import pytest
from scipy import stats

from camformer_tf import errors, recipe
from camformer_tf.batches import targets
from camformer_tf.data import records, text


def expressions(count: int = 2_000, seed: int = 0) -> np.ndarray:
    """Expressions like the assay's: many of them whole numbers, so with many ties."""
    rng = np.random.default_rng(seed)
    values = rng.gamma(9, 1.2, count)
    return np.where(rng.random(count) < 0.6, np.round(values), values).astype(np.float32)


def test_targets_are_the_normal_quantiles_of_ranks_with_the_mean_and_sd_of_the_set():
    y = expressions()
    normal = stats.norm.ppf((stats.rankdata(y) - 0.5) / len(y))
    expected = y.mean(dtype=float) + y.std(dtype=float) * stats.zscore(normal)
    np.testing.assert_allclose(targets.quantiles(y).apply(y), expected, rtol=1e-6)


def test_targets_of_distinct_expressions_are_normal_and_those_of_equal_ones_equal():
    y = np.random.default_rng(1).exponential(size=5_000).astype(np.float32)
    normal = targets.quantiles(y).apply(y)
    assert stats.kstest((normal - y.mean()) / y.std(), "norm").pvalue > 0.5
    ties = expressions()
    normal = targets.quantiles(ties).apply(ties)
    assert len(np.unique(normal)) == len(np.unique(ties))
    assert stats.spearmanr(ties, normal).statistic == pytest.approx(1, abs=1e-12)


def test_an_expression_that_training_lacks_is_interpolated_or_takes_the_end():
    quantiles = targets.quantiles(np.float32([1, 2, 4, 4]))
    first, second, third = quantiles.apply(np.float32([1, 2, 4]))
    unknown = quantiles.apply(np.float32([1.25, 3, 0, 9]))
    expected = [first + (second - first) / 4, (second + third) / 2, first, third]
    np.testing.assert_allclose(unknown, expected, rtol=1e-6)


def test_equal_expressions_stay_what_they_are():
    assert targets.quantiles(np.full(9, 3.5, np.float32)).apply(np.float32([3.5])) == [3.5]


def test_the_validation_set_is_mapped_as_training_is_and_else_unchanged():
    y = expressions()
    examples = text.Examples(np.zeros((9, 4), np.uint8), y[:9], np.arange(9, dtype=np.float32))
    tricks = targets.Targets(targets.quantiles(y))
    validation = tricks.validation(examples)
    np.testing.assert_array_equal(validation.expression, tricks.quantiles.apply(y)[:9])
    assert validation.letters is examples.letters and validation.weight is examples.weight
    assert targets.Targets().validation(examples) is examples


def test_tails_are_beyond_the_quantiles_of_the_set():
    y = np.arange(1000, dtype=np.float32)
    tails = targets.tails(recipe.TailsConfig(below=0.05, above=0.99, times=3), y)
    times = tails.counts(y)
    assert (times[:50] == 3).all() and (times[50:990] == 1).all() and (times[990:] == 3).all()


def test_a_part_of_real_size_is_as_large_as_it_says_and_even_over_the_library():
    letters = np.random.default_rng(0).choice(np.frombuffer(b"ACGT", np.uint8), (40_000, 110))
    letters[:, :100] = letters[0, :100]  # sequences that differ at few places
    examples = text.Examples(letters, np.zeros(len(letters), np.float32), None)
    is_in_part = targets.Sampling(fraction=0.3, seed=1).counts(examples)
    counts = is_in_part.reshape(40, -1).sum(1)
    # Binomial (1,000, 0.3): sd 14.5; of the whole 91.7. 5 sd of each.
    assert abs(is_in_part.sum() - 12_000) < 460 and np.abs(counts - 300).max() < 73
    last = [is_in_part[letters[:, -1] == ord(letter)].mean() for letter in "ACGT"]
    assert np.abs(np.array(last) - 0.3).max() < 0.023


def test_the_default_tails_are_empty():
    y = expressions()
    assert (targets.tails(recipe.TailsConfig(times=5), y).counts(y) == 1).all()


def test_records_are_read_only_for_a_trick_that_needs_them(library, tmp_path):
    without_need = recipe.TricksConfig(
        target_noise=1.0, shift=3, tails=recipe.TailsConfig(0.1, 0.9)
    )
    assert targets.load(without_need, tmp_path / "none", "train") == targets.Targets()
    tricks = recipe.TricksConfig(quantile_targets=True, tails=recipe.TailsConfig(0.1, 0.9, 2))
    loaded_targets = targets.load(tricks, library, "train")
    y = records.read(library, "train").expression
    np.testing.assert_array_equal(loaded_targets.quantiles.apply(y), targets.quantiles(y).apply(y))
    assert loaded_targets.tails == targets.tails(tricks.tails, y)


@pytest.mark.parametrize(("below", "above"), [(0.0, 1.0), (0.9, 0.1), (0.5, 0.5)])
def test_tails_of_nothing_or_of_everything_are_refused(library, below, above):
    tricks = recipe.TricksConfig(tails=recipe.TailsConfig(below, above, times=3))
    with pytest.raises(
        errors.UserError, match=f"tricks.tails: below {below:g} and above {above:g}"
    ):
        targets.load(tricks, library, "train")

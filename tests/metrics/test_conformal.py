import numpy as np
import pytest

from camformer_tf.metrics import conformal


def test_the_quantile_is_the_error_of_rank_n_plus_1_times_coverage():
    errors = np.arange(1.0, 20.0)  # 19 errors: rank 18 is 90 % of 20
    band = conformal.band(errors, np.zeros(19), None, 0.9)
    assert (band.quantile, band.floor, band.n) == (18.0, 1.0, 19)
    lower, upper = band.ends(np.array([5.0]), None)
    assert (lower.item(), upper.item()) == (-13.0, 23.0)


def test_too_few_examples_are_refused():
    with pytest.raises(ValueError, match="9 examples are too few for a coverage of 0.95"):
        conformal.band(np.ones(9), np.zeros(9), None, 0.95)
    conformal.band(np.ones(19), np.zeros(19), None, 0.95)


def test_intervals_cover_new_examples_at_the_nominal_rate():
    rng = np.random.default_rng(1)
    shares = []
    for _ in range(400):
        spread = rng.exponential(size=300)
        error = rng.normal(size=300) * (0.2 + spread)  # larger where the ensemble disagrees
        band = conformal.band(error[:200], np.zeros(200), spread[:200], 0.8)
        lower, upper = band.ends(np.zeros(100), spread[200:])
        shares.append(conformal.assess(error[200:], lower, upper).coverage)
    # The expected share lies between 0.8 and 0.8 + 1 / 201; the mean of 400 is exact to 2e-3.
    assert 0.794 < np.mean(shares) < 0.811


def test_intervals_grow_with_the_spread_and_have_a_minimum_width():
    band = conformal.Band(coverage=0.9, quantile=2.0, floor=0.5, n=100)
    lower, upper = band.ends(np.zeros(2), np.array([0.0, 1.0]))
    np.testing.assert_array_equal(upper - lower, [2.0, 6.0])


def test_an_ensemble_of_equal_models_has_intervals_of_one_width():
    band = conformal.band(np.arange(20.0), np.zeros(20), np.zeros(20), 0.5)
    assert band.floor == 1.0 and band.quantile == 10.0


def test_coverage_is_assessed_for_each_tenth_by_expression():
    y = np.arange(100.0)
    deciles = conformal.by_decile(y, y - 1, np.where(y < 50, y + 1, y - 0.5))
    assert [decile.n for decile in deciles] == [10] * 10
    assert [decile.coverage for decile in deciles] == [1.0] * 5 + [0.0] * 5
    assert (deciles[0].minimum, deciles[0].maximum, deciles[0].width) == (0.0, 9.0, 2.0)
    ties = conformal.by_decile(np.repeat([3.0, 7.0], 50), np.zeros(100), np.full(100, 5.0))
    assert [(decile.n, decile.coverage) for decile in ties] == [(50, 1.0), (50, 0.0)]

import numpy as np
import pytest
import scipy.stats

from camformer_tf.metrics import bootstrap

RNG = np.random.default_rng(5)
Y = np.rint(RNG.normal(11, 2, 60))
P = [Y + RNG.normal(0, 1, 60), 1e6 + np.rint(Y / 3)]  # the second with ties, far from 0


def test_each_resample_has_the_correlations_of_scipy():
    values = bootstrap.correlations(Y, P, 20, np.random.default_rng(7))
    draw = np.random.default_rng(7)
    for i in range(20):
        rows = draw.integers(
            60, size=60
        )  # as documented: one draw per resample, for all predictions
        for j, p in enumerate(P):
            r = scipy.stats.pearsonr(Y[rows], p[rows]).statistic
            rho = scipy.stats.spearmanr(Y[rows], p[rows]).statistic
            assert values[i, j] == pytest.approx([r, rho], abs=1e-10)


def test_intervals_have_the_width_of_theory():
    # Fisher's z of normal pairs has the standard deviation 1 / sqrt(n - 3) for every r.
    rng = np.random.default_rng(1)
    y = rng.normal(size=2000)
    p = y + rng.normal(size=2000)
    values = bootstrap.correlations(y, [p], 1000, rng)[:, 0]
    low, high = np.arctanh(bootstrap.intervals(values, ["pearson", "spearman"])["pearson"])
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(1997), rel=0.1)


def test_an_undefined_correlation_has_no_interval():
    values = bootstrap.correlations(np.arange(5.0), [np.ones(5)], 10, RNG)
    assert np.isnan(values).all()
    assert bootstrap.intervals(values[:, 0], ["pearson", "spearman"]) == {}

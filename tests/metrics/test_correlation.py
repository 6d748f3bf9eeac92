import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from camformer_tf.metrics import correlation

RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=2000)
SIGNAL = 0.7 * NOISE + RNG.normal(size=2000)
BINS = np.clip(np.rint(11 + 2 * SIGNAL), 0, 17)

# Centred values are at most 1 and exact to 2e-16, so a sum of N products is exact to about
# N * 2e-16 of the largest such sum: below 1e-12 for N <= 2,000, and so is r.
PAIRS = {
    "random": (NOISE, SIGNAL),
    "opposite": (NOISE, -SIGNAL),
    "uncorrelated": (NOISE, RNG.normal(size=2000)),
    "all tied in tens": (np.rint(NOISE), np.rint(SIGNAL)),
    "mostly integers": (np.where(RNG.random(2000) < 0.58, BINS, 11 + 2 * SIGNAL), NOISE),
    "float32": (NOISE.astype(np.float32), SIGNAL.astype(np.float32)),
    "tiny spread": (NOISE * 1e-300, SIGNAL),
    "huge spread": (NOISE * 1e300, SIGNAL),
    "two values": (np.array([1.0, 2.0]), np.array([5.0, -1.0])),
    "one row apart": (np.eye(50)[0], np.arange(50.0)),
}


@pytest.mark.parametrize("case", PAIRS)
def test_pearson_agrees_with_exact_arithmetic(case):
    y, p = PAIRS[case]
    assert correlation.pearson(y, p) == pytest.approx(exact_pearson(y, p), abs=1e-12)


@pytest.mark.parametrize("case", [case for case in PAIRS if "spread" not in case])
def test_pearson_agrees_with_scipy(case):
    y, p = (values.astype(np.float64) for values in PAIRS[case])  # scipy counts in float32 else
    assert correlation.pearson(y, p) == pytest.approx(stats.pearsonr(y, p).statistic, abs=1e-12)


@pytest.mark.parametrize("case", PAIRS)
def test_spearman_agrees_with_scipy(case):
    assert correlation.spearman(*PAIRS[case]) == pytest.approx(
        stats.spearmanr(*PAIRS[case]).statistic, abs=1e-12
    )


def exact_pearson(y, p) -> float:
    """Returns Pearson's r in rational numbers, rounded once at the end."""
    y, p = ([Fraction(value) for value in values.tolist()] for values in (y, p))
    n = len(y)
    sy, sp = sum(y), sum(p)
    covariance = n * sum(a * b for a, b in zip(y, p, strict=True)) - sy * sp
    spread = (n * sum(a * a for a in y) - sy * sy) * (n * sum(b * b for b in p) - sp * sp)
    square = covariance * covariance / spread
    return math.copysign(math.sqrt(square), covariance)


@pytest.mark.parametrize("offset", [1e3, 1e6, 1e9, 1e12, 1e15, -1e15])
def test_an_offset_costs_no_digits(offset):
    # Adding the offset rounds the data; exact_pearson gets the rounded values too.
    y = NOISE + offset
    assert correlation.pearson(y, SIGNAL) == pytest.approx(exact_pearson(y, SIGNAL), abs=1e-12)


@pytest.mark.parametrize("count", [2, 3, 10])
def test_neighbouring_floats_are_told_apart(count):
    y = 11 + np.arange(count) * np.spacing(11.0)
    assert correlation.pearson(y, np.arange(count)) == pytest.approx(1, abs=1e-12)


def test_the_smallest_floats_differ():
    assert correlation.pearson([0, 5e-324], [1, 2]) == pytest.approx(1, abs=1e-12)


VALUES = st.floats(-1e6, 1e6) | st.integers(0, 17).map(float)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=2, max_size=60))
def test_pearson_agrees_with_exact_arithmetic_on_any_data(rows):
    y, p = np.array(rows).T
    r = correlation.pearson(y, p)
    if len(set(y)) == 1 or len(set(p)) == 1:
        assert math.isnan(r)
    else:
        assert r == pytest.approx(exact_pearson(y, p), abs=1e-12)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=2, max_size=60))
def test_spearman_agrees_with_scipy_on_any_data(rows):
    y, p = np.array(rows).T
    rho = correlation.spearman(y, p)
    if len(set(y)) == 1 or len(set(p)) == 1:
        assert math.isnan(rho)
    else:
        assert rho == pytest.approx(stats.spearmanr(y, p).statistic, abs=1e-12)


@given(st.lists(st.floats(allow_nan=False), max_size=60))
def test_ranks_are_those_of_scipy(values):
    np.testing.assert_array_equal(correlation.ranks(np.array(values)), stats.rankdata(values))


@given(st.lists(st.tuples(VALUES, VALUES), max_size=20))
def test_correlations_lie_between_minus_one_and_one_or_are_nan(rows):
    y, p = np.array(rows).reshape(-1, 2).T
    for r in (correlation.pearson(y, p), correlation.spearman(y, p), correlation.pearson(y, y)):
        assert math.isnan(r) or -1 <= r <= 1


WITHOUT_VALUE = {
    "no values": ([], []),
    "one value": ([1.0], [2.0]),
    "a constant truth": ([3.0, 3.0, 3.0], [1.0, 2.0, 3.0]),
    "a constant prediction": ([1.0, 2.0, 3.0], [0.1, 0.1, 0.1]),
    "both constant": ([0.1, 0.1], [0.1, 0.1]),
    "a NaN": ([1.0, np.nan, 3.0], [1.0, 2.0, 3.0]),
    "a NaN in the prediction": ([1.0, 2.0, 3.0], [1.0, 2.0, np.nan]),
    "an infinity": ([1.0, 2.0, 3.0], [1.0, 2.0, np.inf]),
    "zeros of two signs": ([0.0, -0.0], [1.0, 2.0]),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", WITHOUT_VALUE)
@pytest.mark.parametrize("function", [correlation.pearson, correlation.spearman])
def test_an_undefined_correlation_is_nan(function, case):
    assert math.isnan(function(*WITHOUT_VALUE[case]))


@pytest.mark.parametrize("function", [correlation.pearson, correlation.spearman])
@pytest.mark.parametrize(
    "y, p", [([1, 2, 3], [1, 2]), ([[1, 2]], [[1, 2]]), ([1, 2], [[1], [2]]), ([], [1])]
)
def test_arrays_of_two_shapes_are_refused(function, y, p):
    with pytest.raises(ValueError, match="expected two arrays of one shape"):
        function(y, p)


@pytest.mark.parametrize("function", [correlation.pearson, correlation.spearman])
def test_scores_do_not_change_their_arguments(function):
    y, p = NOISE.copy(), SIGNAL.copy()
    function(y, p)
    np.testing.assert_array_equal(y, NOISE)
    np.testing.assert_array_equal(p, SIGNAL)

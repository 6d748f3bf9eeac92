import dataclasses
import re

import numpy as np
import pytest
from scipy import stats
from support import judged

from camformer_tf import errors
from camformer_tf.evaluation import pairing, scoring

TRUTH, PREDICTION, SEQUENCES = judged.TRUTH, judged.PREDICTION, judged.SEQUENCES


def check(scores: scoring.Scores, expression: np.ndarray, prediction: np.ndarray) -> None:
    """Compares scores with scipy's and numpy's; both are float64 sums of 200 products."""
    r = stats.pearsonr(expression, prediction).statistic
    assert scores.n == len(expression)
    assert scores.pearson == pytest.approx(r, abs=1e-12)
    assert scores.pearson_squared == pytest.approx(r**2, abs=1e-12)
    rho = stats.spearmanr(expression, prediction).statistic
    assert scores.spearman == pytest.approx(rho, abs=1e-12)
    error = prediction - expression
    assert scores.mae == pytest.approx(np.mean(np.abs(error)), rel=1e-12)
    assert scores.rmse == pytest.approx(np.sqrt(np.mean(np.square(error))), rel=1e-12)


def pairs(prediction=PREDICTION, expression=TRUTH, sequences=SEQUENCES) -> pairing.Pairs:
    values = (np.array(column, float) for column in (expression, prediction))
    return pairing.Pairs("table", "truth", *values, sequences)


# --- scores ---


def test_scores_agree_with_scipy_and_numpy():
    check(scoring.score(TRUTH, PREDICTION), TRUTH, PREDICTION)
    check(scoring.score_pairs(pairs()), TRUTH, PREDICTION)


def test_rows_without_a_prediction_are_counted_and_left_out():
    scores = scoring.score_pairs(pairs([np.nan, np.nan, *PREDICTION[2:]]))
    check(scores, TRUTH[2:], PREDICTION[2:])
    assert scores.unpredicted == 2


def test_one_row_has_errors_but_no_correlation():
    scores = scoring.score_pairs(pairs([3.0], [1.0]))
    assert dataclasses.astuple(scores) == (1, 0, None, None, None, 2.0, 2.0, None)


def test_perfect_predictions_correlate_fully():
    scores = scoring.score(TRUTH, TRUTH)
    assert (scores.pearson, scores.spearman) == pytest.approx((1, 1), abs=1e-15)
    assert (scores.mae, scores.rmse) == (0, 0)


def test_the_summary_shows_every_score():
    lines = scoring.score(np.arange(3.0), np.array([1.0, 1.0, 1.0])).summary().splitlines()
    assert [re.split(r"  +", line) for line in lines] == [
        ["n", "3"],
        ["unpredicted", "0"],
        ["pearson", "undefined (no spread)"],
        ["pearson squared", "undefined (no spread)"],
        ["spearman", "undefined (no spread)"],
        ["mae", "0.666667"],
        ["rmse", "0.816497"],
    ]


def test_intervals_contain_the_scores():
    scores = scoring.score_pairs(pairs(), resamples=200)
    for name in scoring.METRICS:
        low, high = scores.ci[name]
        assert low < getattr(scores, name) < high
    assert re.search(r"pearson +0\.\d{6}  \(0\.\d{4} to 0\.\d{4}\)", scores.summary())


# --- two sets of predictions ---


def test_a_better_prediction_is_better_in_nearly_every_resample():
    worse = PREDICTION + np.random.default_rng(3).normal(0, 2, 200)
    gains = scoring.compare(pairs(), pairs(worse), resamples=300)
    r = [stats.pearsonr(TRUTH, p).statistic for p in (PREDICTION, worse)]
    assert gains["pearson"].difference == pytest.approx(r[0] - r[1], abs=1e-12)
    low, high = gains["pearson"].ci
    assert 0 < low < gains["pearson"].difference < high
    assert gains["spearman"].better > 0.97
    losses = scoring.compare(pairs(worse), pairs(), resamples=300)
    assert losses["pearson"].ci == pytest.approx((-high, -low), abs=1e-12)  # the same resamples


def test_a_prediction_is_no_better_than_itself():
    gains = scoring.compare(pairs(), pairs(PREDICTION.copy()), resamples=50)
    assert gains["pearson"] == scoring.Difference(0.0, (0.0, 0.0), 0.0)


def test_rows_that_only_one_side_predicts_are_left_out():
    partial = PREDICTION * 2
    partial[:150] = np.nan
    gains = scoring.compare(pairs(), pairs(partial), resamples=0)
    assert gains["spearman"] == scoring.Difference(pytest.approx(0, abs=1e-12))
    with pytest.raises(errors.UserError, match="no row has a measured value and a prediction"):
        scoring.compare(pairs(), pairs(np.full(200, np.nan)), resamples=0)


def test_predictions_of_different_sequences_are_not_compared():
    for reference in (
        pairs(sequences=SEQUENCES[::-1]),
        pairs(PREDICTION[:10], TRUTH[:10], SEQUENCES[:10]),
        pairs(PREDICTION[:10], TRUTH[:10], None),
    ):
        with pytest.raises(errors.UserError, match="not the same sequences"):
            scoring.compare(pairs(), reference, resamples=0)


def test_numbers_without_sequences_are_compared_by_their_order():
    gains = scoring.compare(pairs(), pairs(sequences=None), resamples=0)
    assert gains["pearson"].difference == 0


# --- values that cannot be scored ---


def refusal(prediction, expression) -> str:
    with pytest.raises(errors.UserError) as caught_error:
        scoring.score_pairs(pairs(prediction, expression))
    return str(caught_error.value)


@pytest.mark.parametrize("prediction", [[np.nan, np.nan], []])
def test_a_table_without_any_prediction_is_refused(prediction):
    assert refusal(prediction, [1.0] * len(prediction)) == "table: no row has a prediction."


@pytest.mark.parametrize("missing", [np.nan, np.inf])
def test_a_missing_or_infinite_expression_is_named(missing):
    message = refusal([1.0, 2.0, 3.0], [1.0, missing, missing])
    assert message == "truth: row 2 has no finite expression (2 rows in all)."


def test_an_infinite_prediction_is_named():
    message = refusal([1.0, np.nan, -np.inf], [1.0, 2.0, 3.0])
    assert message == "table: row 3 has an infinite prediction (1 row in all)."

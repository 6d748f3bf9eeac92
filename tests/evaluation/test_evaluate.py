import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from camformer_tf import errors
from camformer_tf.evaluation import evaluate

RNG = np.random.default_rng(0)
TRUTH = np.rint(RNG.normal(11, 2, 200))
PREDICTION = np.float32(TRUTH + RNG.normal(0, 1, 200)).astype(float)
SEQUENCES = ["".join(row) for row in RNG.choice(list("ACGT"), (200, 30)).tolist()]


def table(tmp_path: Path, prediction=PREDICTION, expression=TRUTH) -> Path:
    """A predictions table; None in a column is an empty field."""
    columns = [SEQUENCES[: len(prediction)], prediction] + [expression] * (expression is not None)
    names = ["sequence", "prediction", "expression"][: len(columns)]
    rows = [["" if v is None else str(v) for v in row] for row in zip(*columns, strict=True)]
    path = tmp_path / "predictions.tsv"
    path.write_text("".join("\t".join(row) + "\n" for row in [names, *rows]))
    return path


def truth(tmp_path: Path, sequences=SEQUENCES, expression=TRUTH) -> Path:
    rows = zip(sequences, expression, strict=True)
    (tmp_path / "truth.txt").write_text("".join(f"{s}\t{value}\n" for s, value in rows))
    return tmp_path / "truth.txt"


def refusal(*paths: Path) -> str:
    with pytest.raises(errors.UserError) as caught:
        evaluate.evaluate(*paths)
    return str(caught.value)


def check(scores: evaluate.Scores, expression: np.ndarray, prediction: np.ndarray) -> None:
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


# --- scores ---


def test_scores_agree_with_scipy_and_numpy():
    check(evaluate.score(TRUTH, PREDICTION), TRUTH, PREDICTION)


def test_a_table_with_expression_is_its_own_truth(tmp_path):
    scores = evaluate.evaluate(table(tmp_path))
    check(scores, TRUTH, PREDICTION)
    assert scores.unpredicted == 0


def test_a_truth_file_goes_before_the_tables_own_expression(tmp_path):
    scores = evaluate.evaluate(table(tmp_path), truth(tmp_path, expression=TRUTH * 2))
    check(scores, TRUTH * 2, PREDICTION)


def test_a_truth_file_serves_a_table_without_expression(tmp_path):
    scores = evaluate.evaluate(table(tmp_path, expression=None), truth(tmp_path))
    check(scores, TRUTH, PREDICTION)


def test_letter_case_and_blank_lines_of_the_truth_make_no_difference(tmp_path):
    path = truth(tmp_path, [sequence.lower() for sequence in SEQUENCES])
    path.write_text("\n" + path.read_text().replace("\n", "\r\n \r\n"))
    check(evaluate.evaluate(table(tmp_path), path), TRUTH, PREDICTION)


def test_rows_without_a_prediction_are_counted_and_left_out(tmp_path):
    prediction = [None, "nan", *PREDICTION[2:].tolist()]
    scores = evaluate.evaluate(table(tmp_path, prediction))
    check(scores, TRUTH[2:], PREDICTION[2:])
    assert scores.unpredicted == 2


def test_lines_that_could_not_be_predicted_need_not_be_judged(tmp_path):
    (tmp_path / "p.tsv").write_text(
        "sequence\tprediction\nACGX\t\nAAAA\t1.0\nCCCC\t2.0\nGGGG\t4.0\nTTTT\t\n"
    )
    (tmp_path / "t.txt").write_text("ACGX\t5\nAAAA\t1\nCCCC\t2\nGGGG\t3\nTTTT\tnan\n")
    scores = evaluate.evaluate(tmp_path / "p.tsv", tmp_path / "t.txt")
    check(scores, np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0]))
    assert scores.unpredicted == 2


def test_one_row_has_errors_but_no_correlation(tmp_path):
    scores = evaluate.evaluate(table(tmp_path, [3.0], [1.0]))
    assert dataclasses.astuple(scores) == (1, 0, None, None, None, 2.0, 2.0, None)


def test_perfect_predictions_correlate_fully():
    scores = evaluate.score(TRUTH, TRUTH)
    assert (scores.pearson, scores.spearman) == pytest.approx((1, 1), abs=1e-15)
    assert (scores.mae, scores.rmse) == (0, 0)


# --- scores.json ---


def test_scores_are_stored_under_their_documented_names(tmp_path):
    scores = evaluate.score(TRUTH, PREDICTION, unpredicted=3)
    evaluate.save(scores, tmp_path / "scores.json")
    stored = json.loads((tmp_path / "scores.json").read_text())
    assert stored | {"ci": None} == dataclasses.asdict(scores)  # no intervals were asked for
    assert {"n", "pearson", "pearson_squared", "spearman", "mae", "rmse"} <= set(stored)


def test_undefined_correlations_are_null_and_never_0(tmp_path):
    evaluate.save(evaluate.score(TRUTH, np.full(200, 11.0)), tmp_path / "scores.json")
    stored = json.loads((tmp_path / "scores.json").read_text())
    assert [stored[name] for name in ("pearson", "pearson_squared", "spearman")] == [None] * 3
    assert stored["mae"] == pytest.approx(np.abs(TRUTH - 11).mean(), rel=1e-12)


def test_existing_scores_are_refused_and_stay(tmp_path):
    (tmp_path / "scores.json").write_text("old")
    with pytest.raises(errors.UserError, match="scores.json: exists already"):
        evaluate.save(evaluate.score(TRUTH, PREDICTION), tmp_path / "scores.json")
    assert (tmp_path / "scores.json").read_text() == "old"


def test_the_summary_shows_every_score():
    lines = evaluate.score(np.arange(3.0), np.array([1.0, 1.0, 1.0])).summary().splitlines()
    assert [re.split(r"  +", line) for line in lines] == [
        ["n", "3"],
        ["unpredicted", "0"],
        ["pearson", "undefined (no spread)"],
        ["pearson squared", "undefined (no spread)"],
        ["spearman", "undefined (no spread)"],
        ["mae", "0.666667"],
        ["rmse", "0.816497"],
    ]


def test_intervals_hold_the_scores_and_are_stored_beside_them(tmp_path):
    scores = evaluate.evaluate(table(tmp_path), resamples=200)
    for name in ("pearson", "spearman"):
        low, high = scores.ci[name]
        assert low < getattr(scores, name) < high
    assert re.search(r"pearson +0\.\d{6}  \(0\.\d{4} to 0\.\d{4}\)", scores.summary())
    evaluate.save(scores, tmp_path / "scores.json")
    stored = json.loads((tmp_path / "scores.json").read_text())
    assert stored["ci"] == {name: list(ends) for name, ends in scores.ci.items()}


# --- the challenge's JSON ---


def submission(tmp_path, values: dict) -> Path:
    (tmp_path / "submission.json").write_text(json.dumps(values))
    return tmp_path / "submission.json"


def test_the_challenges_json_is_judged_by_position(tmp_path):
    rows = [5, 0, 199, 7]
    path = submission(tmp_path, {str(row): PREDICTION[row] for row in rows})
    scores = evaluate.evaluate(path, truth(tmp_path))
    check(scores, TRUTH[rows], PREDICTION[rows])
    assert scores.unpredicted == 196


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"200": 1.0}, "position '200' is none of the 200 rows"),
        ({"-1": 1.0}, "position '-1' is none"),
        ({"1": "high"}, "position 1 has 'high', which is no number"),
        ({"1": True}, "position 1 has True"),
    ],
)
def test_a_json_that_does_not_fit_is_told(tmp_path, values, said):
    assert said in refusal(submission(tmp_path, values), truth(tmp_path))


def test_a_json_asks_for_the_truth(tmp_path):
    assert "holds positions alone" in refusal(submission(tmp_path, {}))


# --- two predictions ---


def pairs_of(prediction: np.ndarray, sequences=SEQUENCES) -> evaluate.Pairs:
    return evaluate.Pairs("table", "truth", TRUTH, prediction, sequences)


def test_a_better_prediction_is_better_in_nearly_every_resample():
    worse = PREDICTION + np.random.default_rng(3).normal(0, 2, 200)
    found = evaluate.compare(pairs_of(PREDICTION), pairs_of(worse), resamples=300)
    r = [stats.pearsonr(TRUTH, p).statistic for p in (PREDICTION, worse)]
    assert found["pearson"].difference == pytest.approx(r[0] - r[1], abs=1e-12)
    low, high = found["pearson"].ci
    assert 0 < low < found["pearson"].difference < high
    assert found["spearman"].better > 0.97
    back = evaluate.compare(pairs_of(worse), pairs_of(PREDICTION), resamples=300)
    assert back["pearson"].ci == pytest.approx((-high, -low), abs=1e-12)  # the same resamples


def test_a_prediction_is_no_better_than_itself():
    found = evaluate.compare(pairs_of(PREDICTION), pairs_of(PREDICTION.copy()), resamples=50)
    assert found["pearson"] == evaluate.Difference(0.0, (0.0, 0.0), 0.0)


def test_rows_that_one_of_two_lacks_are_left_out_of_both():
    other = PREDICTION * 2
    other[:150] = np.nan
    found = evaluate.compare(pairs_of(PREDICTION), pairs_of(other), resamples=0)
    assert found["spearman"] == evaluate.Difference(pytest.approx(0, abs=1e-12))


def test_predictions_of_other_sequences_are_not_compared():
    for other in (pairs_of(PREDICTION, SEQUENCES[::-1]), pairs_of(PREDICTION[:10], SEQUENCES[:10])):
        with pytest.raises(errors.UserError, match="not of the same sequences"):
            evaluate.compare(pairs_of(PREDICTION), other, resamples=0)


# --- tables that cannot be judged ---


def test_a_table_without_expression_asks_for_the_truth(tmp_path):
    path = table(tmp_path, expression=None)
    assert refusal(path) == (
        f"{path}: has no expression column. Name the measured values: "
        f"camformer-tf evaluate {path} TRUTH"
    )


@pytest.mark.parametrize("prediction", [[None, None], []])
def test_a_table_without_any_prediction_is_refused(tmp_path, prediction):
    path = table(tmp_path, prediction, [1.0] * len(prediction))
    assert refusal(path) == f"{path}: not one row has a prediction."


@pytest.mark.parametrize("missing", [None, "nan", "inf"])
def test_a_missing_or_infinite_expression_is_named(tmp_path, missing):
    path = table(tmp_path, [1.0, 2.0, 3.0], [1.0, missing, missing])
    assert refusal(path) == f"{path}: row 2 has no finite expression (2 rows in all)."


def test_an_infinite_prediction_is_named(tmp_path):
    path = table(tmp_path, [1.0, None, "-inf"], [1.0, 2.0, 3.0])
    assert refusal(path) == f"{path}: row 3 has an infinite prediction (1 rows in all)."


def test_a_truth_of_another_length_is_refused(tmp_path):
    path = truth(tmp_path, SEQUENCES[:199], TRUTH[:199])
    expected = f"{path}: has 199 rows, the predictions have 200. Give the text that was predicted."
    assert refusal(table(tmp_path), path) == expected


def test_a_truth_in_another_order_is_refused(tmp_path):
    path = truth(tmp_path, [SEQUENCES[0], *SEQUENCES[:0:-1]])
    message = refusal(table(tmp_path), path)
    assert message.startswith(f"{path}: row 2 is {SEQUENCES[-1]}…, where the predictions have ")
    assert SEQUENCES[1] in message


@pytest.mark.parametrize(
    "line, reason",
    [
        ("ACGT", "expected SEQUENCE and EXPRESSION, found 1 column"),
        ("ACGT nan", "expression 'nan' is not a finite number"),
        ("ACXT 1", "letter 'X' is none of ACGTN"),
    ],
)
def test_a_malformed_truth_is_named_with_its_line(tmp_path, line, reason):
    path = truth(tmp_path)
    path.write_text(path.read_text() + line + "\n")
    assert refusal(table(tmp_path), path) == f"{path}:201: {reason}."


@pytest.mark.parametrize("which", ["predictions.tsv", "truth.txt"])
def test_a_missing_file_is_named(tmp_path, which):
    paths = [table(tmp_path), truth(tmp_path)]
    (tmp_path / which).unlink()
    assert which in refusal(*paths)

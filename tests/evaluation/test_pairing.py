import json

import numpy as np
import pandas as pd
import pytest
from support import judged

from camformer_tf import errors
from camformer_tf.evaluation import pairing


def refusal(*sources) -> str:
    with pytest.raises(errors.UserError) as caught_error:
        pairing.load(*sources)
    return str(caught_error.value)


def check(pairs, expression, prediction):
    np.testing.assert_array_equal(pairs.expression, expression)
    np.testing.assert_array_equal(pairs.prediction, prediction)


def test_a_table_with_expression_is_its_own_truth(tmp_path):
    path = judged.table(tmp_path)
    pairs = pairing.load(path)
    check(pairs, judged.TRUTH, judged.PREDICTION)
    assert pairs.sequences == judged.SEQUENCES
    assert pairs.table == pairs.truth == str(path)


def test_a_truth_file_takes_precedence_over_the_column_expression(tmp_path):
    path = judged.truth(tmp_path, expression=judged.TRUTH * 2)
    check(pairing.load(str(judged.table(tmp_path)), str(path)), judged.TRUTH * 2, judged.PREDICTION)


def test_a_truth_file_serves_a_table_without_expression(tmp_path):
    table = judged.table(tmp_path, expression=None)
    check(pairing.load(table, judged.truth(tmp_path)), judged.TRUTH, judged.PREDICTION)


def test_letter_case_and_blank_lines_of_the_truth_make_no_difference(tmp_path):
    path = judged.truth(tmp_path, [sequence.lower() for sequence in judged.SEQUENCES])
    path.write_text("\n" + path.read_text().replace("\n", "\r\n \r\n"))
    check(pairing.load(judged.table(tmp_path), path), judged.TRUTH, judged.PREDICTION)


def test_a_line_that_cannot_be_read_needs_no_expression_where_nothing_was_predicted(tmp_path):
    (tmp_path / "p.tsv").write_text(
        "sequence\tprediction\nACGX\t\nAAAA\t1.0\nCCCC\t2.0\nGGGG\t4.0\nTTTT\t\n"
    )
    (tmp_path / "t.txt").write_text("ACGX\t5\nAAAA\t1\nCCCC\t2\nGGGG\t3\nTTTT\tnan\n")
    pairs = pairing.load(tmp_path / "p.tsv", tmp_path / "t.txt")
    check(pairs, [np.nan, 1, 2, 3, np.nan], [np.nan, 1, 2, 4, np.nan])


# --- arrays and DataFrames ---


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series])
def test_numbers_are_paired_in_their_order(kind):
    check(pairing.load(kind([1.0, 2.0]), kind([3.0, 4.0])), [3, 4], [1, 2])


def test_none_and_a_column_of_an_array_are_understood():
    check(pairing.load([1.0, None], [3, 4]), [3, 4], [1, np.nan])
    check(pairing.load(np.ones((2, 1), np.float32), [3, 4]), [3, 4], [1, 1])


def test_a_data_frame_brings_its_columns():
    frame = pd.DataFrame({"sequence": ["A", "C"], "prediction": [1, 2], "expression": [3, 4]})
    pairs = pairing.load(frame)
    check(pairs, [3, 4], [1, 2])
    assert pairs.sequences == ["A", "C"]
    check(pairing.load(frame[["prediction"]], [5, 6]), [5, 6], [1, 2])


def test_a_data_frame_is_checked_against_a_truth_file(tmp_path):
    frame = pd.DataFrame({"sequence": judged.SEQUENCES, "prediction": judged.PREDICTION})
    check(pairing.load(frame, judged.truth(tmp_path)), judged.TRUTH, judged.PREDICTION)
    frame = frame.assign(sequence=judged.SEQUENCES[::-1])
    assert "row 1 is" in refusal(frame, judged.truth(tmp_path))


def test_a_table_takes_an_array_as_its_truth(tmp_path):
    table = judged.table(tmp_path, expression=None)
    check(pairing.load(table, judged.TRUTH), judged.TRUTH, judged.PREDICTION)


@pytest.mark.parametrize(
    ("source", "truth", "message"),
    [
        ([1.0, 2.0], [1.0], "1 value for 2 predictions"),
        ([1.0], None, "no measured values"),
        (pd.DataFrame({"prediction": [1.0]}), None, "no measured values"),
        (pd.DataFrame({"guess": [1.0]}), None, "expected a column prediction, found guess"),
        (["high"], [1.0], "the predictions: not numbers"),
        (np.ones((2, 3)), [1.0, 2.0], r"found shape \(2, 3\)"),
    ],
)
def test_values_that_do_not_fit_are_refused(source, truth, message):
    with pytest.raises(errors.UserError, match=message):
        pairing.load(source, truth)


# --- the challenge's JSON ---


def submission(tmp_path, values: dict):
    (tmp_path / "submission.json").write_text(json.dumps(values))
    return tmp_path / "submission.json"


def test_the_challenges_json_is_paired_by_position(tmp_path):
    rows = [5, 0, 199, 7]
    path = submission(tmp_path, {str(row): judged.PREDICTION[row] for row in rows})
    pairs = pairing.load(path, judged.truth(tmp_path))
    check(
        pairs, judged.TRUTH, [p if i in rows else np.nan for i, p in enumerate(judged.PREDICTION)]
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"200": 1.0}, "position '200' is not one of 200 rows"),
        ({"-1": 1.0}, "position '-1' is not one"),
        ({"1": "high"}, "position 1 has 'high', which is not a number"),
        ({"1": True}, "position 1 has True"),
    ],
)
def test_a_json_that_does_not_fit_is_refused(tmp_path, values, message):
    assert message in refusal(submission(tmp_path, values), judged.truth(tmp_path))


def test_a_json_without_truth_is_refused(tmp_path):
    assert "holds positions only" in refusal(submission(tmp_path, {}))
    assert "holds positions only" in refusal(submission(tmp_path, {}), [1.0])


# --- files that cannot be paired ---


def test_a_table_without_expression_and_truth_is_refused_with_advice(tmp_path):
    path = judged.table(tmp_path, expression=None)
    assert refusal(path) == (
        f"{path}: has no expression column. Name the measured values: "
        f"camformer-tf evaluate {path} TRUTH"
    )


def test_a_truth_of_another_length_is_refused(tmp_path):
    path = judged.truth(tmp_path, judged.SEQUENCES[:199], judged.TRUTH[:199])
    expected = f"{path}: has 199 rows, the predictions have 200. Give the text that was predicted."
    assert refusal(judged.table(tmp_path), path) == expected


def test_a_truth_in_another_order_is_refused(tmp_path):
    path = judged.truth(tmp_path, [judged.SEQUENCES[0], *judged.SEQUENCES[:0:-1]])
    message = refusal(judged.table(tmp_path), path)
    start = f"{path}: row 2 is {judged.SEQUENCES[-1]}…, but the predictions have "
    assert message.startswith(start)
    assert judged.SEQUENCES[1] in message


@pytest.mark.parametrize(
    "line", ["ACGT", "ACGT nan", "ACXT 1"], ids=["one column", "not finite", "letter X"]
)
def test_a_malformed_truth_is_named_with_its_line(tmp_path, line):
    path = judged.truth(tmp_path)
    path.write_text(path.read_text() + line + "\n")
    assert refusal(judged.table(tmp_path), path).startswith(f"{path}:201: ")


@pytest.mark.parametrize("name", ["predictions.tsv", "truth.txt"])
def test_a_missing_file_is_named(tmp_path, name):
    paths = [judged.table(tmp_path), judged.truth(tmp_path)]
    (tmp_path / name).unlink()
    assert name in refusal(*paths)

import csv
import io
import json

import click.testing
import numpy as np
import pandas as pd
import pytest
from support import judged

import camformer_tf as cf
from camformer_tf import cli, errors
from camformer_tf.evaluation import evaluate, scoring


def call(*arguments) -> click.testing.Result:
    runner = click.testing.CliRunner()
    return runner.invoke(cli.main, [str(a) for a in arguments], catch_exceptions=False)


def test_the_scores_of_files_frames_and_arrays_are_the_same(tmp_path):
    expected = scoring.score(judged.TRUTH, judged.PREDICTION)
    frame = pd.DataFrame({"prediction": judged.PREDICTION, "expression": judged.TRUTH})
    assert cf.evaluate(judged.table(tmp_path)).scores == expected
    assert cf.evaluate(judged.table(tmp_path), judged.truth(tmp_path)).scores == expected
    assert cf.evaluate(frame).scores == expected
    assert cf.evaluate(judged.PREDICTION.tolist(), judged.TRUTH.tolist()).scores == expected


def test_the_repr_shows_scores_and_difference():
    worse = judged.PREDICTION[::-1]
    evaluation = cf.evaluate(judged.PREDICTION, judged.TRUTH, against=worse, bootstrap=20)
    assert repr(evaluation) == evaluation.summary()
    assert evaluation.scores.summary() in repr(evaluation)
    assert "higher than the predictions by\npearson" in repr(evaluation)
    assert evaluation.difference["pearson"].better == 1
    frame = pd.DataFrame({"prediction": judged.PREDICTION, "expression": judged.TRUTH})
    frame_evaluation = cf.evaluate(frame, against=worse, bootstrap=20)
    assert frame_evaluation.difference == evaluation.difference


# --- scores.json ---


def test_scores_are_stored_under_their_documented_names(tmp_path):
    out = tmp_path / "scores.json"
    evaluation = evaluate.evaluate(judged.table(tmp_path), out=str(out))
    scores = json.loads(out.read_text())
    assert scores == evaluation.values()
    names = ["n", "unpredicted", "pearson", "pearson_squared", "spearman", "mae", "rmse"]
    assert list(scores) == names  # and no ci without resamples


def test_intervals_and_differences_are_stored(tmp_path):
    out = tmp_path / "scores.json"
    table = judged.table(tmp_path)
    evaluation = evaluate.evaluate(table, bootstrap=50, against=table, out=out)
    scores = json.loads(out.read_text())
    assert scores["ci"] == {name: list(ends) for name, ends in evaluation.scores.ci.items()}
    assert scores["against"]["spearman"] == {"difference": 0.0, "ci": [0.0, 0.0], "better": 0.0}


def test_undefined_correlations_are_null_and_never_0(tmp_path):
    out = tmp_path / "scores.json"
    evaluate.evaluate(np.full(200, 11.0), judged.TRUTH, out=out)
    scores = json.loads(out.read_text())
    assert [scores[name] for name in ("pearson", "pearson_squared", "spearman")] == [None] * 3
    assert scores["mae"] == pytest.approx(np.abs(judged.TRUTH - 11).mean(), rel=1e-12)


@pytest.mark.parametrize(("suffix", "separator"), [("csv", ","), ("tsv", "\t")])
def test_a_suffix_of_a_table_gives_a_table(tmp_path, suffix, separator):
    out, table = tmp_path / f"scores.{suffix}", judged.table(tmp_path)
    evaluation = evaluate.evaluate(table, bootstrap=50, against=table, out=out)
    rows = {row["score"]: row for row in csv.DictReader(out.open(), delimiter=separator)}
    assert float(rows["pearson"]["value"]) == evaluation.scores.pearson
    assert float(rows["pearson"]["lower"]) == evaluation.scores.ci["pearson"][0]
    assert rows["mae"]["lower"] == "" and rows["n"]["value"] == "200"
    assert float(rows["against.spearman.difference"]["upper"]) == 0


def test_existing_scores_stay_unless_they_may_be_replaced(tmp_path):
    out, table = tmp_path / "scores.json", judged.table(tmp_path)
    out.write_text("old")
    with pytest.raises(errors.UserError, match="scores.json: exists already"):
        evaluate.evaluate(table, out=out)
    result = call("evaluate", table, "--out", out)
    assert result.exit_code == 1 and "--overwrite" in result.output
    assert out.read_text() == "old"
    assert call("evaluate", table, "--out", out, "--overwrite").exit_code == 0
    assert json.loads(out.read_text())["n"] == 200


def test_a_refused_table_leaves_the_old_scores(tmp_path):
    out = tmp_path / "scores.json"
    out.write_text("old")
    with pytest.raises(errors.UserError, match="no row has a prediction"):
        evaluate.evaluate([np.nan], [1.0], out=out, overwrite=True)
    assert out.read_text() == "old"


# --- the command ---


def test_the_command_prints_a_table_or_json(tmp_path):
    table = judged.table(tmp_path)
    evaluation = evaluate.evaluate(table)
    assert call("evaluate", table).output == evaluation.summary() + "\n"
    for options in (["--json"], ["--out", "-"]):
        assert json.loads(call("evaluate", table, *options).stdout) == evaluation.values()


def test_json_and_a_table_on_standard_output_exclude_each_other(tmp_path):
    result = call("evaluate", judged.table(tmp_path), "--json", "--out", "-")
    assert result.exit_code == 2 and "both write to standard output" in result.output


def test_a_score_that_is_a_table_in_memory_can_be_read_as_csv():
    table = cf.evaluate(judged.PREDICTION, judged.TRUTH, bootstrap=20).table()
    assert list(table.columns) == ["score", "value", "lower", "upper"]
    copy = pd.read_csv(io.StringIO(table.to_csv(index=False)))
    assert copy["score"].tolist() == table["score"].tolist()

import json
import re

import click.testing
import pytest

from camformer_tf import cli, errors
from camformer_tf.evaluation import challenge
from camformer_tf.metrics import dream


@pytest.fixture(scope="module")
def challenge_files(shared_data):
    return shared_data / "dream2022"


def call(*arguments) -> click.testing.Result:
    runner = click.testing.CliRunner()
    return runner.invoke(cli.main, [str(a) for a in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def predictions(challenge_files, tmp_path_factory):
    """The Original's published predictions as `predict` would write them."""
    path = tmp_path_factory.mktemp("predictions") / "predictions.tsv"
    rows = (challenge_files / "original_seed42_predictions.tsv").read_text()
    path.write_text("sequence\tprediction\n" + rows)
    return path


def test_a_submission_is_scored_by_the_public_values_alone(challenge_files, tmp_path):
    result = call(
        "evaluate", challenge_files / "submission2022_public.json",
        "--leaderboard", challenge_files / "public_leaderboard",
        "--published", challenge_files / "published" / "sota.csv",
        "--out", tmp_path / "scores.json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "DREAM 2022, the public leaderboard\n" in result.output
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["score_pearson"] == pytest.approx(0.7632131311, abs=5e-11)  # reference.md 7.4
    assert scores["score_spearman"] == pytest.approx(0.8234462261, abs=5e-11)
    assert scores["subsets"]["snv"] == {
        "n": 4670,
        "pearson": pytest.approx(0.8072926907, abs=5e-11),
        "spearman": pytest.approx(0.6586568667, abs=5e-11),
        "weight": 1.25,
    }
    assert (scores["phase"], scores["snv_list"], scores["missing"]) == ("public", "official", {})


def test_the_scorecard_of_the_whole_test_set_has_places_among_published_results(
    challenge_files, predictions, tmp_path
):
    result = call(
        "evaluate", predictions, challenge_files / "test_expression.tsv",
        "--dream", challenge_files / "subsets",
        "--published", challenge_files / "published" / "sota.csv",
        "--bootstrap", 20, "--out", tmp_path / "scores.json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "DREAM 2022, the whole test set, SNV pairs of the recovered list" in result.output
    # .9582 and .9638 are below the first two teams' (sqrt .9463, sqrt .9255; .9764, .9713)
    assert re.search(r"^all +71,103 +0\.958220 +3 +0\.963830 +3 +1\.00$", result.output, re.M)
    assert re.search(r"^snv +44,340 +0\.817380 +\d +0\.669538 +\d +1\.25$", result.output, re.M)
    assert "places among 6: autosome.org, BHI" in result.output
    scores = json.loads((tmp_path / "scores.json").read_text())
    low, high = scores["ci"]["score_overall"]
    assert low < scores["score_overall"] < high
    assert scores["subsets"]["high"]["ci"]["pearson"][0] < scores["subsets"]["high"]["pearson"]


def test_a_missing_subset_is_named_and_no_score_is_shown(challenge_files, predictions, tmp_path):
    for name in ("yeast_seqs.csv", "low_exp_seqs.csv"):
        (tmp_path / name).symlink_to(challenge_files / "subsets" / name)
    result = call(
        "evaluate", predictions, challenge_files / "test_expression.tsv", "--dream", tmp_path
    )
    assert result.exit_code == 0
    assert "no score: these subsets are missing: high (high_exp_seqs.csv), " in result.output
    assert re.search(r"^score \(r², rho\) +undefined +undefined$", result.output, re.M)


def test_another_truth_than_the_challenges_is_refused(challenge_files, predictions):
    truth = challenge_files / "test_expression_0_17.tsv"
    result = call(
        "evaluate", predictions, truth, "--leaderboard", challenge_files / "public_leaderboard"
    )  # fmt: skip
    assert result.exit_code == 1
    assert re.search(r"row \d+ has .*, the public leaderboard .*whole test file", result.output)


def test_predictions_of_a_part_of_the_test_file_are_refused(challenge_files, predictions, tmp_path):
    rows = predictions.read_text().split("\n")[:1000]
    truth = (challenge_files / "test_expression.tsv").read_text().split("\n")[:999]
    (tmp_path / "part.tsv").write_text("\n".join(rows) + "\n")
    (tmp_path / "truth.tsv").write_text("\n".join(truth) + "\n")
    result = call(
        "evaluate", tmp_path / "part.tsv", tmp_path / "truth.tsv",
        "--dream", challenge_files / "subsets",
    )  # fmt: skip
    assert result.exit_code == 1
    assert (
        "is not among 999 rows" in result.output and "Predict the whole test file" in result.output
    )


def test_the_summary_says_that_constant_predictions_have_no_spread():
    subset = dream.SubsetScore(5, None, None, 1.0)
    card = dream.Scorecard("full", "none", {}, {"all": subset}, None, None, None)
    text = challenge.summary(card, {})
    assert "undefined" in text and "the predictions have no spread" in text


def test_places_count_the_teams_that_score_higher():
    subset = dream.SubsetScore(5, 0.7, None, 1.0)
    card = dream.Scorecard("full", "none", {}, {"all": subset}, 0.5, 0.9, 0.7)
    teams = {
        name: {metric: {"all": value, "score": value} for metric in dream.METRICS}
        for name, value in (("Strong", 0.8), ("Weak", 0.6))
    }
    places = challenge.places(card, teams)
    assert places["pearson"] == {"all": 2, "score": 3}
    assert places["spearman"] == {"all": None, "score": 1}


def test_the_phase_follows_from_the_files(tmp_path):
    assert challenge.load().score(None) is None and not challenge.load().has_scorecard
    assert challenge.load(tmp_path).phase == "full"
    assert challenge.load(None, str(tmp_path)).phase == "public"
    assert challenge.load(tmp_path, tmp_path).phase == "full"
    assert challenge.load(tmp_path, tmp_path, "private").phase == "private"
    for options in ({"phase": "full"}, {"published": "sota.csv"}):
        with pytest.raises(errors.UserError, match="go with dream or leaderboard"):
            challenge.load(**options)


def test_options_of_the_scorecard_go_with_its_files(predictions):
    result = call("evaluate", predictions, "--phase", "full")
    assert result.exit_code == 2 and "go with --dream or --leaderboard" in result.output

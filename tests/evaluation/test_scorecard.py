import json
import re

import click.testing
import pytest

from camformer_tf import cli
from camformer_tf.evaluation import scorecard
from camformer_tf.metrics import dream


@pytest.fixture(scope="module")
def challenge(shared_data):
    return shared_data / "dream2022"


def call(*arguments) -> click.testing.Result:
    runner = click.testing.CliRunner()
    return runner.invoke(cli.main, [str(a) for a in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def predictions(challenge, tmp_path_factory):
    """The Original's published predictions as `predict` would write them."""
    path = tmp_path_factory.mktemp("predictions") / "predictions.tsv"
    rows = (challenge / "original_seed42_predictions.tsv").read_text()
    path.write_text("sequence\tprediction\n" + rows)
    return path


def test_a_submission_is_judged_by_the_public_values_alone(challenge, tmp_path):
    done = call(
        "evaluate", challenge / "submission2022_public.json",
        "--leaderboard", challenge / "public_leaderboard",
        "--published", challenge / "published" / "sota.csv",
        "--out", tmp_path / "scores.json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "DREAM 2022, the public leaderboard\n" in done.output
    stored = json.loads((tmp_path / "scores.json").read_text())
    assert stored["score_pearson"] == pytest.approx(0.7632131311, abs=5e-11)  # reference.md 7.4
    assert stored["score_spearman"] == pytest.approx(0.8234462261, abs=5e-11)
    assert stored["subsets"]["snv"] == {
        "n": 4670,
        "pearson": pytest.approx(0.8072926907, abs=5e-11),
        "spearman": pytest.approx(0.6586568667, abs=5e-11),
        "weight": 1.25,
    }
    assert (stored["phase"], stored["snv_list"], stored["missing"]) == ("public", "official", {})


def test_the_breakdown_of_the_whole_test_set_stands_among_the_published(
    challenge, predictions, tmp_path
):
    done = call(
        "evaluate", predictions, challenge / "test_expression.tsv",
        "--dream", challenge / "subsets",
        "--published", challenge / "published" / "sota.csv",
        "--bootstrap", 20, "--out", tmp_path / "scores.json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "DREAM 2022, the whole test set, SNV pairs of the recovered list" in done.output
    # .9582 and .9638 are below the first two teams' (sqrt .9463, sqrt .9255; .9764, .9713)
    assert re.search(r"^all +71,103 +0\.958220 +3 +0\.963830 +3 +1\.00$", done.output, re.M)
    assert re.search(r"^snv +44,340 +0\.817380 +\d +0\.669538 +\d +1\.25$", done.output, re.M)
    assert "places among 6: autosome.org, BHI" in done.output
    stored = json.loads((tmp_path / "scores.json").read_text())
    low, high = stored["ci"]["score_overall"]
    assert low < stored["score_overall"] < high
    assert stored["subsets"]["high"]["ci"]["pearson"][0] < stored["subsets"]["high"]["pearson"]


def test_a_missing_subset_is_named_and_no_score_is_shown(challenge, predictions, tmp_path):
    for name in ("yeast_seqs.csv", "low_exp_seqs.csv"):
        (tmp_path / name).symlink_to(challenge / "subsets" / name)
    done = call("evaluate", predictions, challenge / "test_expression.tsv", "--dream", tmp_path)
    assert done.exit_code == 0
    assert "no score, since these subsets are missing: high (high_exp_seqs.csv), " in done.output
    assert re.search(r"^score \(r², rho\) +undefined +undefined$", done.output, re.M)


def test_another_truth_than_the_challenges_is_refused(challenge, predictions):
    truth = challenge / "test_expression_0_17.tsv"
    done = call(
        "evaluate", predictions, truth, "--leaderboard", challenge / "public_leaderboard"
    )  # fmt: skip
    assert done.exit_code == 1
    assert re.search(r"row \d+ has .*, the public leaderboard .*whole test file", done.output)


def test_predictions_of_a_part_of_the_test_file_are_refused(challenge, predictions, tmp_path):
    rows = predictions.read_text().split("\n")[:1000]
    truth = (challenge / "test_expression.tsv").read_text().split("\n")[:999]
    (tmp_path / "part.tsv").write_text("\n".join(rows) + "\n")
    (tmp_path / "truth.tsv").write_text("\n".join(truth) + "\n")
    done = call(
        "evaluate", tmp_path / "part.tsv", tmp_path / "truth.tsv", "--dream", challenge / "subsets"
    )  # fmt: skip
    assert done.exit_code == 1
    assert "is not among 999 rows" in done.output and "predict the whole of it" in done.output


def test_constant_predictions_are_said_to_have_no_spread():
    one = dream.SubsetScore(5, None, None, 1.0)
    card = dream.Scorecard("full", "none", {}, {"all": one}, None, None, None)
    told = scorecard.summary(card, {})
    assert "undefined" in told and "the predictions have no spread" in told


def test_options_of_the_scorecard_go_with_its_files(predictions):
    done = call("evaluate", predictions, "--phase", "full")
    assert done.exit_code == 2 and "go with --dream or --leaderboard" in done.output

"""Whole searches: every trial is a training of its own process."""

import csv
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tensorflow as tf

from camformer_tf import errors, files, recipe, rundir
from camformer_tf.tuning import searchdir, tune

pytestmark = pytest.mark.slow
SAMPLE = Path(__file__).parents[2] / "tfrecords" / "sample"
SEARCH = """
schema: 1
model:
  residual: false
  padding: 0
  blocks: [{filters: {choice: [4, 8]}, kernel: {choice: [3, 5, 7]}}]
  dense: []
train: {epochs: 1, batch_size: 128, learning_rate: {choice: [0.001, LAST]}, loss: mse}
"""
TUNE = [sys.executable, "-m", "camformer_tf.cli", "tune"]


@pytest.fixture
def recipe_file(tmp_path) -> Path:
    path = tmp_path / "search.yaml"
    path.write_text(SEARCH.replace("LAST", "0.002"))
    return path


def run(path: Path, out: Path, *options: str) -> subprocess.CompletedProcess:
    command = [*TUNE, str(path), str(SAMPLE), str(out), "--precision", "float32", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def table(out: Path) -> list[dict[str, str]]:
    with (out / searchdir.TRIALS).open() as file:
        return list(csv.DictReader(file))


def test_the_best_trial_becomes_a_recipe_that_fit_takes(recipe_file, tmp_path):
    out = tmp_path / "out"
    process = run(recipe_file, out, "--trials", "3")
    assert process.returncode == 0, process.stderr
    rows = table(out)
    assert [row["status"] for row in rows] == ["COMPLETED"] * 3
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert any(row["pareto"] == "True" for row in rows)
    best = recipe.load(str(out / searchdir.BEST))
    assert str(best.train.learning_rate) == rows[0]["train.learning_rate"]
    assert best.expect.parameters == int(rows[0]["parameters"])
    # `fit` reaches the score of the search, to the bit
    fit = subprocess.run(
        [*TUNE[:-1], "fit", str(out / searchdir.BEST), str(SAMPLE), str(tmp_path / "run"),
         "--quiet", "--precision", "float32"], capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert f"r + rho {scores[0]:.4f}" in fit.stdout, fit
    assert f"{scores[0]:.4f}" in (out / searchdir.BEST).read_text()
    tags = {
        value.tag
        for file in (out / searchdir.HPARAMS / rows[0]["trial"]).iterdir()
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    }
    assert {"_hparams_/session_start_info", "score", "parameters"} <= tags
    weights = list((out / searchdir.FOLDER).glob(f"*/{rundir.BEST}"))
    assert [path.parent.name for path in weights] == [rows[0]["trial"]]


def test_trials_on_a_fraction_of_the_sequences_give_a_recipe_for_all(recipe_file, tmp_path):
    out = tmp_path / "out"
    options = ["--trials", "2", "--fraction", "0.5", "--objective", "score-parameters"]
    process = run(recipe_file, out, *options, "--tenfold", "10")
    assert process.returncode == 0, process.stderr
    rows = table(out)
    assert int(rows[0]["parameters"]) == min(int(row["parameters"]) for row in rows)
    for row in rows:
        score = float(row["score"]) - 10 * math.log10(int(row["parameters"]))
        assert float(row["objective"]) == pytest.approx(score)
    assert recipe.load(str(out / searchdir.FOLDER / "0.yaml")).train.fraction == 0.5
    assert recipe.load(str(out / searchdir.BEST)).train.fraction == 1
    assert "on 0.5 of the training sequences" in (out / searchdir.BEST).read_text()


def test_a_failed_trial_is_recorded_and_the_search_continues(tmp_path):
    path, out = tmp_path / "search.yaml", tmp_path / "out"
    path.write_text(SEARCH.replace("LAST", "1000000000000000000000000000000000000.0"))
    process = run(path, out, "--algorithm", "grid", "--trials", "2")
    assert process.returncode == 0, process.stderr
    good, bad = table(out)
    assert (good["status"], bad["status"]) == ("COMPLETED", "FAILED")
    assert "training loss became" in bad["reason"] and not bad["score"]
    assert "trial 1 failed: " in process.stderr and "Traceback" not in process.stderr
    alone = tmp_path / "alone.yaml"
    alone.write_text(path.read_text().replace("choice: [0.001, ", "choice: ["))
    process = run(alone, tmp_path / "none", "--trials", "1")
    assert process.returncode == 1 and "the only trial failed" in process.stderr
    assert not (tmp_path / "none" / searchdir.BEST).exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithm": "hyperband", "epochs": 2}, "at least 3"),
        ({"algorithm": "grid"}, "train.weight_decay: a grid needs a step"),
        ({"objective": "speed"}, "objective: expected one of score, "),
        ({"resume": True, "overwrite": True}, "exclude each other"),
    ],
)
def test_a_search_that_cannot_begin_leaves_nothing(tmp_path, options, message):
    path, out = tmp_path / "search.yaml", tmp_path / "out"
    path.write_text(SEARCH.replace("LAST]}", "0.002]}, weight_decay: {log: [0.001, 0.1]}"))
    with pytest.raises(errors.UserError, match=message):
        tune.tune(str(path), SAMPLE, out, **options)
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_search_resumes_without_repeating_finished_trials(recipe_file, tmp_path):
    out, reference = tmp_path / "out", tmp_path / "reference"
    options = ["--trials", "4", "--algorithm", "bayesian"]
    command = [*TUNE, str(recipe_file), str(SAMPLE), str(out), "--precision", "float32", *options]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    logs = out / searchdir.FOLDER
    while not (out / searchdir.TRIALS).is_file() or len(list(logs.glob("*.log"))) <= len(
        table(out)
    ):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)  # its training continues alone
    process.wait(60)
    seconds = {row["trial"]: row["seconds"] for row in table(out)}
    assert 1 <= len(seconds) < 4
    with files.lock(out):
        process = run(recipe_file, out, *options, "--resume")
    assert process.returncode == 1 and "another process" in process.stderr
    process = run(recipe_file, out, *options, "--resume")
    assert process.returncode == 0, process.stderr
    rows = {row["trial"]: row for row in table(out)}
    assert len(rows) == 4
    assert all(rows[name]["seconds"] == value for name, value in seconds.items())
    assert run(recipe_file, reference, *options).returncode == 0
    for expected, row in zip(table(reference), table(out), strict=True):
        changing = ("seconds", "sequences_per_second", "pareto_speed")
        assert {k: v for k, v in expected.items() if k not in changing} == {
            k: v for k, v in row.items() if k not in changing
        }
    process = run(recipe_file, out, "--trials", "4", "--resume", "--seed", "7")
    assert process.returncode == 1 and "begun with another algorithm, seed" in process.stderr
    process = run(recipe_file, out, "--trials", "4")
    assert process.returncode == 1 and "exists already" in process.stderr
    assert len(table(out)) == 4
    process = run(recipe_file, out, "--trials", "1", "--overwrite")
    assert process.returncode == 0 and len(table(out)) == 1, process.stderr


def test_a_signal_stops_the_current_trial_which_can_continue(recipe_file, tmp_path):
    out = tmp_path / "out"
    path = tmp_path / "long.yaml"
    path.write_text(recipe_file.read_text().replace("epochs: 1", "epochs: 500, patience: 500"))
    command = [*TUNE, str(path), str(SAMPLE), str(out), "--precision", "float32", "--trials", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    checkpoints = out / searchdir.FOLDER / "0" / rundir.CHECKPOINTS
    deadline = time.monotonic() + 120
    while not checkpoints.is_dir() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    stderr = process.communicate(timeout=120)[1]
    assert process.returncode == 143 and "Continue with --resume" in stderr, stderr
    assert checkpoints.is_dir() and not files.is_locked(out / searchdir.FOLDER / "0")

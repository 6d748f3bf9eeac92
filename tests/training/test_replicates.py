import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import runs

from camformer_tf import errors, recipe, rundir
from camformer_tf.training import jobs, replicates
from camformer_tf.training import options as fit_options

SAMPLE = Path(__file__).parents[2] / "tfrecords" / "sample"
FIT = [sys.executable, "-m", "camformer_tf.cli", "fit", "smoke", str(SAMPLE)]
OPTIONS = ["--set", "train.epochs=1", "--precision", "float32", "--quiet"]


def fit(out: Path, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*FIT, str(out), *OPTIONS, *options], capture_output=True, text=True, timeout=240
    )


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("replicates") / "run"
    process = fit(out, "--seeds", "42,7,23")
    assert process.returncode == 0, process.stderr
    return out, process.stdout


def test_each_seed_is_its_own_run(finished_run):
    out, _ = finished_run
    assert {path.name for path in out.iterdir()} == {
        "seed-42", "seed-7", "seed-23", "replicates.csv",
    }  # fmt: skip
    for seed in (42, 7, 23):
        text = (out / f"seed-{seed}" / rundir.RECIPE).read_text()
        assert f"seed: {seed}" in text and "epochs: 1" in text


def test_the_table_has_each_replicate_then_mean_and_deviation(finished_run):
    out, output = finished_run
    table = pd.read_csv(out / rundir.REPLICATES)
    assert list(table.seed) == ["42", "7", "23", "mean", "sd"]
    for row in table[:3].itertuples():
        best = pd.read_csv(out / f"seed-{row.seed}" / rundir.HISTORY).iloc[int(row.best_epoch) - 1]
        assert row.val_pearson == pytest.approx(best.val_pearson, abs=1e-15)
        assert row.val_loss == pytest.approx(best.val_loss, abs=1e-15)
    for column in ("val_pearson", "val_spearman", "val_loss"):
        values = table[column][:3]
        assert table[column][3] == pytest.approx(values.mean())
        assert table[column][4] == pytest.approx(np.std(values, ddof=1))
    r = table.val_pearson
    assert f"3 replicates: r {r[3]:.4f} (sd {r[4]:.4f})" in output


def test_a_replicate_is_the_run_of_that_seed(finished_run, tmp_path):
    out, _ = finished_run
    assert fit(tmp_path / "single", "--set", "train.seed=7").returncode == 0
    for name in (rundir.LOG, rundir.VAL_PREDICTIONS, rundir.RECIPE):
        assert (tmp_path / "single" / name).read_bytes() == (out / "seed-7" / name).read_bytes()


@pytest.fixture
def processes(monkeypatch):
    """The arguments of the processes that would train, and exit codes by folder to end with."""
    commands, codes = [], {}

    def run(arguments, **options):
        commands.append(arguments)
        folder = Path(arguments[3])
        if code := codes.get(folder.name):
            return code
        folder.mkdir(exist_ok=True)
        return 0

    monkeypatch.setattr(replicates.child, "run", run)
    monkeypatch.setattr(replicates.rundir, "load", lambda folder: runs.run())
    return commands, codes


def train(out: Path, seeds: list[int], **options) -> dict:
    job = jobs.Job(
        recipe.load("smoke"), SAMPLE, out, fit_options.FitOptions(precision="float32", **options)
    )
    return replicates.train(job, seeds, is_quiet=True)


def test_each_process_gets_the_options_and_its_seed(processes, tmp_path):
    commands, _ = processes
    train(tmp_path / "run", [7], steps_per_call=3, require_gpu=True, overwrite=True)
    (command,) = commands
    text = " ".join(command)
    assert text.startswith("fit ") and f"{tmp_path / 'run' / 'seed-7'} --resume" in text
    assert "--set train.seed=7 --precision float32 --steps-per-call 3 --require-gpu --quiet" in text
    assert "--overwrite" not in text  # of the folder of all replicates


def test_without_resume_existing_replicates_are_not_replaced(processes, tmp_path):
    train(tmp_path / "run", [1, 2])
    with pytest.raises(errors.UserError, match="exists already"):
        train(tmp_path / "run", [1, 2])
    train(tmp_path / "run", [1, 2], overwrite=True)
    assert len(processes[0]) == 4


def test_a_replicate_that_fails_ends_all_and_keeps_those_before(processes, tmp_path):
    commands, codes = processes
    codes["seed-2"] = 143
    with pytest.raises(replicates.ReplicateFailure, match="seed-2: a signal stopped") as failure:
        train(tmp_path / "run", [1, 2, 3])
    assert failure.value.code == 143 and len(commands) == 2
    assert list(pd.read_csv(tmp_path / "run" / rundir.REPLICATES).seed) == [1]
    codes.clear()
    assert list(train(tmp_path / "run", [1, 2, 3], resume=True)) == [1, 2, 3]
    table = pd.read_csv(tmp_path / "run" / rundir.REPLICATES)
    assert list(table.seed) == ["1", "2", "3", "mean", "sd"]


@pytest.mark.parametrize(
    ("seeds", "count", "message"),
    [
        ([1, 1], None, "--seeds 1,1: a seed is repeated"),
        ([], None, "expected whole numbers"),
        ([-1], None, "expected whole numbers"),
        ([1], 2, "exclude each other"),
        (None, 11, "expected 1 to 10"),
    ],
)
def test_seeds_that_make_no_replicates_are_refused(seeds, count, message):
    with pytest.raises(errors.UserError, match=message):
        replicates.choose(seeds, count)


def test_without_seeds_the_first_published_ones_are_used():
    assert replicates.choose(None, 3) == [42, 23, 47]


def test_the_published_seeds_are_those_of_the_paper():
    # train_rep.py:24, Bornelov-lab/Camformer@feaa529
    assert replicates.PUBLISHED_SEEDS == (42, 23, 47, 56, 89, 12, 34, 78, 67, 98)

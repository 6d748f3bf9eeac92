import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from camformer_tf import errors, rundir
from camformer_tf.training import replicates

SAMPLE = Path(__file__).parents[2] / "tfrecords" / "sample"
FIT = [sys.executable, "-m", "camformer_tf.cli", "fit", "smoke", str(SAMPLE)]
OPTIONS = ["--set", "train.epochs=1", "--precision", "float32", "--quiet"]


def fit(out: Path, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*FIT, str(out), *OPTIONS, *options], capture_output=True, text=True, timeout=240
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("replicates") / "run"
    done = fit(out, "--seeds", "42,7,23")
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_each_seed_is_a_run_of_its_own(trained):
    out, _ = trained
    assert {path.name for path in out.iterdir()} == {
        "seed-42", "seed-7", "seed-23", "replicates.csv",
    }  # fmt: skip
    for seed in (42, 7, 23):
        recipe = (out / f"seed-{seed}" / rundir.RECIPE).read_text()
        assert f"seed: {seed}" in recipe and "epochs: 1" in recipe


def test_the_table_has_each_replicate_then_mean_and_deviation(trained):
    out, said = trained
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
    assert f"3 replicates: r {r[3]:.4f} (sd {r[4]:.4f})" in said


def test_a_replicate_is_the_run_of_that_seed(trained, tmp_path):
    out, _ = trained
    assert fit(tmp_path / "alone", "--set", "train.seed=7").returncode == 0
    for name in (rundir.LOG, rundir.VAL_PREDICTIONS, rundir.RECIPE):
        assert (tmp_path / "alone" / name).read_bytes() == (out / "seed-7" / name).read_bytes()


@pytest.fixture
def trainings(monkeypatch):
    """The commands of replicates that would be trained, in place of training; codes to end with."""
    started, codes = [], {}

    def run(arguments, **options):
        started.append(arguments)
        folder = Path(arguments[-1])
        if code := codes.get(folder.name):
            return code
        folder.mkdir(exist_ok=True)
        return 0

    made = type("Made", (), {name: 1.0 for name in replicates._COLUMNS.values()})
    monkeypatch.setattr(replicates.child, "run", run)
    monkeypatch.setattr(replicates.rundir, "load", lambda folder: made())
    return started, codes


def command(seed: int, folder: Path) -> list[str]:
    return [str(seed), str(folder)]


def test_without_resume_what_is_there_is_not_replaced(trainings, tmp_path):
    replicates.train([1, 2], tmp_path / "run", command)
    with pytest.raises(errors.UserError, match="exists already"):
        replicates.train([1, 2], tmp_path / "run", command)
    replicates.train([1, 2], tmp_path / "run", command, overwrite=True)
    assert len(trainings[0]) == 4


def test_a_replicate_that_fails_ends_all_and_keeps_those_before(trainings, tmp_path):
    started, codes = trainings
    codes["seed-2"] = 143
    with pytest.raises(replicates.Ended) as ended:
        replicates.train([1, 2, 3], tmp_path / "run", command)
    assert ended.value.code == 143 and len(started) == 2
    assert list(pd.read_csv(tmp_path / "run" / rundir.REPLICATES).seed) == [1]
    codes.clear()
    replicates.train([1, 2, 3], tmp_path / "run", command, resume=True)
    table = pd.read_csv(tmp_path / "run" / rundir.REPLICATES)
    assert list(table.seed) == ["1", "2", "3", "mean", "sd"]


def test_the_same_seed_twice_is_refused(tmp_path):
    with pytest.raises(errors.UserError, match="a seed stands there twice"):
        replicates.train([1, 1], tmp_path / "run", command)


def test_the_published_seeds_are_those_of_the_paper():
    # train_rep.py:24, Bornelov-lab/Camformer@feaa529
    assert replicates.PUBLISHED_SEEDS == (42, 23, 47, 56, 89, 12, 34, 78, 67, 98)

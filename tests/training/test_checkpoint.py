import dataclasses
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from camformer_tf import errors, recipe, rundir
from camformer_tf.model import keras_file
from camformer_tf.training import checkpoint, fit, loop
from camformer_tf.training import options as fit_options

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tfrecords" / "sample"
OPTIONS = fit_options.FitOptions(precision="float32", resume=True)
# 14 steps an epoch; the rate is cut and the training stopped early, as far as epochs go.
SET = ["train.epochs=3", "train.batch_size=256", "model.dense=[16]"]


class Killed(BaseException):
    """In place of a signal that nothing can catch."""


def state(path: Path) -> dict:
    """All that a run leaves, but for seconds."""
    history = pd.read_csv(path / rundir.HISTORY, dtype=str).drop(columns="seconds")
    with np.load(checkpoint.newest(path / rundir.CHECKPOINTS)) as saved:
        variables = {name: saved[name].tobytes() for name in saved.files if name != "head"}
    return variables | {
        "history": history.to_csv(),
        "log": (path / rundir.LOG).read_bytes(),
        "best": [value.tobytes() for value in keras_file.load(path).network.get_weights()],
        "predictions": (path / rundir.VAL_PREDICTIONS).read_bytes(),
        "best epoch": rundir.load(path).best_epoch,
    }


def killed_after(
    path: Path, settings, steps: int, options: fit_options.FitOptions, monkeypatch
) -> None:
    """Trains until so many steps are done and told, and no further."""
    after_step, left = checkpoint.Checkpoints.after_step, [steps]

    def count(self, progress: loop.Progress) -> None:
        after_step(self, progress)
        left[0] -= bool(progress.step)
        if not left[0]:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoints, "after_step", count)
        with pytest.raises(Killed):
            fit.fit(settings, SAMPLE, path, options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """schedule → a run that was left alone."""
    folder, known = tmp_path_factory.mktemp("whole"), {}

    def get(schedule: str, encoding: str = "onehot"):
        if schedule not in known:
            known[schedule] = folder / schedule
            settings = recipe.load("smoke", [*SET, f"train.schedule={schedule}"])
            fit.fit(settings, SAMPLE, known[schedule], OPTIONS)
        return known[schedule]

    return get


@pytest.mark.parametrize(
    ("schedule", "steps", "every"),
    [
        ("plateau", 1, 1),
        ("plateau", 14, 5),
        ("plateau", 30, 7),
        ("onecycle", 13, 5),
        ("onecycle", 15, 4),
        ("onecycle", 41, 4),
    ],
)
def test_a_run_killed_after_any_step_goes_on_as_if_it_had_not_been(
    whole, tmp_path, monkeypatch, schedule, steps, every
):
    settings = recipe.load("smoke", [*SET, f"train.schedule={schedule}"])
    options = dataclasses.replace(OPTIONS, checkpoint_steps=every)
    killed_after(tmp_path / "run", settings, steps, options, monkeypatch)
    fit.fit(settings, SAMPLE, tmp_path / "run", options)
    assert state(tmp_path / "run") == state(whole(schedule))


def test_a_run_of_several_steps_a_call_goes_on_as_one_of_single_steps(whole, tmp_path, monkeypatch):
    settings = recipe.load("smoke", [*SET, "train.schedule=plateau"])
    options = dataclasses.replace(OPTIONS, checkpoint_steps=3, steps_per_call=4)
    killed_after(tmp_path / "run", settings, 2, options, monkeypatch)
    with np.load(checkpoint.newest(tmp_path / "run" / rundir.CHECKPOINTS)) as saved:
        assert json.loads(str(saved["head"]))["progress"]["step"] == 8
    fit.fit(settings, SAMPLE, tmp_path / "run", options)
    assert state(tmp_path / "run") == state(whole("plateau"))


def test_a_run_killed_time_and_again_goes_on_as_if_it_had_not_been(whole, tmp_path, monkeypatch):
    settings = recipe.load("smoke", [*SET, "train.schedule=plateau"])
    options = dataclasses.replace(OPTIONS, checkpoint_steps=2)
    for steps in (5, 9, 3, 12):
        killed_after(tmp_path / "run", settings, steps, options, monkeypatch)
    fit.fit(settings, SAMPLE, tmp_path / "run", options)
    assert state(tmp_path / "run") == state(whole("plateau"))


def test_a_run_killed_between_training_and_its_last_file_is_finished(whole, tmp_path):
    path = Path(shutil.copytree(whole("plateau"), tmp_path / "run"))
    (path / rundir.RUN).unlink()
    (path / rundir.VAL_PREDICTIONS).unlink()
    fit.fit(recipe.load("smoke", [*SET, "train.schedule=plateau"]), SAMPLE, path, OPTIONS)
    assert state(path) == state(whole("plateau"))


def test_a_damaged_checkpoint_gives_way_to_the_one_before(whole, tmp_path, monkeypatch, caplog):
    settings = recipe.load("smoke", [*SET, "train.schedule=plateau"])
    options = dataclasses.replace(OPTIONS, checkpoint_steps=3)
    killed_after(tmp_path / "run", settings, 20, options, monkeypatch)
    newest = checkpoint.newest(tmp_path / "run" / rundir.CHECKPOINTS)
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(bytes(data))
    fit.fit(settings, SAMPLE, tmp_path / "run", options)
    assert "is damaged; looking for the one before" in caplog.text
    assert state(tmp_path / "run") == state(whole("plateau"))


def test_a_finished_run_says_so_and_does_nothing(whole, caplog):
    path = whole("plateau")
    before = {p: p.stat().st_mtime_ns for p in path.rglob("*")}
    caplog.set_level("INFO")
    made = fit.fit(recipe.load("smoke", [*SET, "train.schedule=plateau"]), SAMPLE, path, OPTIONS)
    assert made == rundir.load(path) and "is finished already; nothing to do" in caplog.text
    assert {p: p.stat().st_mtime_ns for p in path.rglob("*")} == before


# --- another run ---


@pytest.fixture
def stopped(tmp_path, monkeypatch) -> Path:
    options = dataclasses.replace(OPTIONS, checkpoint_steps=1)
    killed_after(tmp_path / "run", recipe.load("smoke", SET), 3, options, monkeypatch)
    return tmp_path / "run"


def test_another_recipe_is_refused_with_the_difference(stopped):
    with pytest.raises(errors.UserError) as refused:
        fit.fit(recipe.load("smoke", [*SET, "train.seed=7"]), SAMPLE, stopped, OPTIONS)
    said = str(refused.value)
    assert "cannot go on as another run" in said
    assert "recipe: -" in said and "seed: 42" in said and "seed: 7" in said


def test_another_record_set_is_refused(stopped, library):
    with pytest.raises(errors.UserError, match="records: -"):
        fit.fit(recipe.load("smoke", SET), library, stopped, OPTIONS)


def test_another_precision_is_refused(stopped):
    options = dataclasses.replace(OPTIONS, precision="mixed_bfloat16")
    with pytest.raises(errors.UserError, match="precision: - float32"):
        fit.fit(recipe.load("smoke", SET), SAMPLE, stopped, options)


def test_another_order_of_the_data_is_refused(stopped):
    options = dataclasses.replace(OPTIONS, data="stream")
    with pytest.raises(errors.UserError, match=r"data: \+ stream"):
        fit.fit(recipe.load("smoke", SET), SAMPLE, stopped, options)


def test_an_unfinished_run_is_neither_replaced_nor_gone_on_with_unasked(stopped):
    options = dataclasses.replace(OPTIONS, resume=False)
    with pytest.raises(errors.UserError, match="an unfinished run.*--resume.*--overwrite"):
        fit.fit(recipe.load("smoke", SET), SAMPLE, stopped, options)


def test_a_folder_that_is_no_run_is_not_gone_on_with(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(errors.UserError, match="is no run to go on with"):
        fit.fit(recipe.load("smoke", SET), SAMPLE, tmp_path, OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_run_stopped_before_its_first_checkpoint_starts_again(whole, tmp_path):
    path, settings = tmp_path / "run", recipe.load("smoke", [*SET, "train.schedule=plateau"])
    path.mkdir()
    (path / rundir.RECIPE).write_text(recipe.dump(settings))
    fit.fit(settings, SAMPLE, path, OPTIONS)
    assert state(path) == state(whole("plateau"))


# --- how often ---


def test_within_an_epoch_keeping_takes_one_percent_of_the_time(tmp_path, monkeypatch):
    now, kept = [0.0], []
    monkeypatch.setattr(checkpoint.time, "perf_counter", lambda: now[0])

    def save(self, progress):
        kept.append(now[0])
        now[0] += 0.5  # what it costs
        self._cost, self._last = 0.5, now[0]

    monkeypatch.setattr(checkpoint.Checkpoints, "save", save)
    made = checkpoint.Checkpoints(tmp_path, None, [], {})
    for step in range(1, 2001):
        now[0] += 0.25
        made.after_step(loop.Progress(0, step))
    assert kept[0] < 100  # in the first epoch too, which may take days
    assert len(kept) > 5 and 0.5 * len(kept) < 0.02 * now[0]
    made.after_step(loop.Progress(1))
    assert kept[-1] == now[0] - 0.5  # every epoch


# --- signals ---


@pytest.mark.slow
def test_a_process_killed_at_random_moments_goes_on_as_if_it_had_not_been():
    options = "--checkpoint-steps 3 --devices 2"
    script = [sys.executable, str(ROOT / "benchmarks" / "kill_and_resume.py"), "--kills", "2"]
    done = subprocess.run(
        [*script, "--epochs", "5", "--options", options],
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0 and "different from a run without kills: nothing" in done.stdout, (
        done
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_end_is_obeyed_after_the_step_in_hand(tmp_path, number):
    arguments = ["fit", "smoke", str(SAMPLE), str(tmp_path / "run"), "--set", "train.epochs=500"]
    process = subprocess.Popen(
        [sys.executable, "-m", "camformer_tf.cli", *arguments],
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if line.startswith("Epoch 1:"):
            break
    process.send_signal(number)
    said = process.stderr.read()
    assert process.wait(60) == 128 + number
    assert "stopped in epoch" in said and "Go on with --resume" in said
    assert checkpoint.newest(tmp_path / "run" / rundir.CHECKPOINTS)

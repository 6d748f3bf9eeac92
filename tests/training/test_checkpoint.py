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

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tfrecords" / "sample"
# 14 steps an epoch; the rate is cut and the training stopped early, as far as epochs go.
CHANGES = ["train.epochs=3", "train.batch_size=256", "model.dense=[16]"]


def train(path: Path, *changes: str, records: Path = SAMPLE, **options) -> rundir.Run:
    """Trains or resumes smoke on the sample in float32, unless options say otherwise."""
    options = {"precision": "float32", "resume": True} | options
    return fit.fit("smoke", records, path, overrides=[*CHANGES, *changes], **options)


class KillSignal(BaseException):
    """Stands for a signal that cannot be handled."""


def state(path: Path) -> dict:
    """Returns all that a run writes, but for seconds."""
    history = pd.read_csv(path / rundir.HISTORY, dtype=str).drop(columns="seconds")
    with np.load(checkpoint.newest(path / rundir.CHECKPOINTS)) as arrays:
        variables = {name: arrays[name].tobytes() for name in arrays.files if name != "head"}
    return variables | {
        "history": history.to_csv(),
        "log": (path / rundir.LOG).read_bytes(),
        "best": [value.tobytes() for value in keras_file.load(path).network.get_weights()],
        "predictions": (path / rundir.VAL_PREDICTIONS).read_bytes(),
        "best epoch": rundir.load(path).best_epoch,
    }


def train_killed(path: Path, monkeypatch, steps: int, *changes: str, **options) -> None:
    """Trains until so many calls of steps are done and reported, and no further."""
    after_step, remaining = checkpoint.Checkpoints.after_step, [steps]

    def count(self, progress: loop.EpochProgress) -> None:
        after_step(self, progress)
        remaining[0] -= bool(progress.step)
        if not remaining[0]:
            raise KillSignal

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Checkpoints, "after_step", count)
        with pytest.raises(KillSignal):
            train(path, *changes, **options)


@pytest.fixture(scope="module")
def reference_run(tmp_path_factory):
    """schedule → a run that was not interrupted."""
    folder, runs = tmp_path_factory.mktemp("reference_run"), {}

    def get(schedule: str) -> Path:
        if schedule not in runs:
            runs[schedule] = folder / schedule
            train(runs[schedule], f"train.schedule={schedule}")
        return runs[schedule]

    return get


@pytest.mark.parametrize(
    ("schedule", "steps", "interval"),
    [
        ("plateau", 1, 1),
        ("plateau", 14, 5),
        ("plateau", 30, 7),
        ("onecycle", 13, 5),
        ("onecycle", 15, 4),
        ("onecycle", 41, 4),
    ],
)
def test_a_run_killed_after_any_step_continues_as_if_it_had_not_been(
    reference_run, tmp_path, monkeypatch, schedule, steps, interval
):
    path, change = tmp_path / "run", f"train.schedule={schedule}"
    train_killed(path, monkeypatch, steps, change, checkpoint_steps=interval)
    train(path, change, checkpoint_steps=interval)
    assert state(path) == state(reference_run(schedule))


def test_a_run_of_several_steps_a_call_continues_as_one_of_single_steps(
    reference_run, tmp_path, monkeypatch
):
    path, options = tmp_path / "run", {"checkpoint_steps": 3, "steps_per_call": 4}
    train_killed(path, monkeypatch, 2, **options)
    with np.load(checkpoint.newest(path / rundir.CHECKPOINTS)) as arrays:
        assert json.loads(str(arrays["head"]))["progress"]["step"] == 8
    train(path, **options)
    assert state(path) == state(reference_run("plateau"))


def test_a_run_killed_several_times_continues_as_if_it_had_not_been(
    reference_run, tmp_path, monkeypatch
):
    path = tmp_path / "run"
    for steps in (5, 9, 3, 12):
        train_killed(path, monkeypatch, steps, checkpoint_steps=2)
    train(path, checkpoint_steps=2)
    assert state(path) == state(reference_run("plateau"))


def test_a_run_killed_between_training_and_its_last_file_is_finished(reference_run, tmp_path):
    path = Path(shutil.copytree(reference_run("plateau"), tmp_path / "run"))
    (path / rundir.RUN).unlink()
    (path / rundir.VAL_PREDICTIONS).unlink()
    train(path)
    assert state(path) == state(reference_run("plateau"))


def test_a_damaged_checkpoint_is_replaced_by_the_one_before(
    reference_run, tmp_path, monkeypatch, caplog
):
    path = tmp_path / "run"
    train_killed(path, monkeypatch, 20, checkpoint_steps=3)
    newest = checkpoint.newest(path / rundir.CHECKPOINTS)
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(bytes(content))
    train(path, checkpoint_steps=3)
    assert "is damaged; trying the previous checkpoint" in caplog.text
    assert state(path) == state(reference_run("plateau"))


def test_a_finished_run_says_so_and_does_nothing(reference_run, caplog):
    path = reference_run("plateau")
    times = {p: p.stat().st_mtime_ns for p in path.rglob("*")}
    caplog.set_level("INFO")
    run = train(path)
    assert run == rundir.load(path) and "is finished already; nothing to do" in caplog.text
    assert {p: p.stat().st_mtime_ns for p in path.rglob("*")} == times


# --- another run ---


@pytest.fixture
def unfinished_run(tmp_path, monkeypatch) -> Path:
    train_killed(tmp_path / "run", monkeypatch, 3, checkpoint_steps=1)
    return tmp_path / "run"


def test_another_recipe_is_refused_with_the_difference(unfinished_run):
    with pytest.raises(errors.UserError) as refusal:
        train(unfinished_run, "train.seed=7")
    message = str(refusal.value)
    assert "cannot be resumed as a different run" in message
    assert "recipe: -" in message and "seed: 42" in message and "seed: 7" in message


def test_another_record_set_is_refused(unfinished_run, library):
    with pytest.raises(errors.UserError, match="records: -"):
        train(unfinished_run, records=library)


def test_another_precision_is_refused(unfinished_run):
    with pytest.raises(errors.UserError, match="precision: - float32"):
        train(unfinished_run, precision="mixed_bfloat16")


def test_another_order_of_the_data_is_refused(unfinished_run):
    with pytest.raises(errors.UserError, match=r"data: \+ stream"):
        train(unfinished_run, data="stream")


def test_an_unfinished_run_is_neither_replaced_nor_resumed_without_an_option(unfinished_run):
    with pytest.raises(errors.UserError, match="an unfinished run.*--resume.*--overwrite"):
        train(unfinished_run, resume=False)


def test_a_folder_that_is_not_a_run_is_not_resumed(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(errors.UserError, match="not a run to resume"):
        train(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_run_stopped_before_its_first_checkpoint_starts_again(reference_run, tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / rundir.RECIPE).write_text(recipe.dump(recipe.load("smoke", CHANGES)))
    train(path)
    assert state(path) == state(reference_run("plateau"))


# --- how often ---


def test_within_an_epoch_checkpoints_take_one_percent_of_the_time(tmp_path, monkeypatch):
    clock, times = [0.0], []
    monkeypatch.setattr(checkpoint.time, "perf_counter", lambda: clock[0])

    def save(self, progress):
        times.append(clock[0])
        clock[0] += 0.5  # what it costs
        self._cost, self._last = 0.5, clock[0]

    monkeypatch.setattr(checkpoint.Checkpoints, "save", save)
    checkpoints = checkpoint.Checkpoints(tmp_path, None, [], {})
    for step in range(1, 2001):
        clock[0] += 0.25
        checkpoints.after_step(loop.EpochProgress(0, step))
    assert times[0] < 100  # in the first epoch too, which may take days
    assert len(times) > 5 and 0.5 * len(times) < 0.02 * clock[0]
    checkpoints.after_step(loop.EpochProgress(1))
    assert times[-1] == clock[0] - 0.5  # every epoch


# --- signals ---


@pytest.mark.slow
def test_a_process_killed_at_random_moments_continues_as_if_it_had_not_been():
    options = "--checkpoint-steps 3 --devices 2"
    script = [sys.executable, str(ROOT / "benchmarks" / "kill_and_resume.py"), "--kills", "2"]
    process = subprocess.run(
        [*script, "--epochs", "5", "--options", options],
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert process.returncode == 0, process
    assert "different from a run without kills: nothing" in process.stdout, process


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_end_takes_effect_after_the_step_in_hand(tmp_path, number):
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
    message = process.stderr.read()
    assert process.wait(60) == 128 + number
    assert "stopped in epoch" in message and "Continue it with --resume" in message
    assert checkpoint.newest(tmp_path / "run" / rundir.CHECKPOINTS)

import csv
import dataclasses
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from camformer_tf import errors, files, recipe, rundir
from camformer_tf.batches import targets
from camformer_tf.data import manifest, predictions, records, sequence
from camformer_tf.metrics import correlation
from camformer_tf.model import keras_file
from camformer_tf.training import fit, strategy
from camformer_tf.training import options as fit_options

FLOAT32 = fit_options.FitOptions(precision="float32")  # whatever this machine computes in fastest
QUICK = ["train.epochs=2", "train.batch_size=64", "model.dense=[16]"]


@pytest.fixture(scope="module")
def run(library, tmp_path_factory) -> tuple[Path, rundir.Run, list]:
    path = tmp_path_factory.mktemp("fit") / "run"
    reports = []
    made = fit.fit(
        recipe.load("smoke", QUICK), library, path, FLOAT32, lambda *report: reports.append(report)
    )
    return path, made, reports


def test_the_run_directory_holds_the_files_of_the_contract(run):
    path, _, _ = run
    assert {p.name for p in path.iterdir()} == {
        "recipe.yaml", "run.json", "history.csv", "log.txt", "best.keras", "last", "tensorboard",
        "val_predictions.tsv", "records.json",
    }  # fmt: skip


def test_the_run_stores_the_recipe_and_the_manifest_it_used(run, library):
    path, _, _ = run
    assert recipe.load(path / rundir.RECIPE) == recipe.load("smoke", QUICK)
    assert (path / rundir.RECORDS).read_bytes() == (library / "manifest.json").read_bytes()


def test_run_json_says_what_ran(run, library):
    path, made, _ = run
    said = json.loads((path / rundir.RUN).read_text())
    convolutions = 4 * 32 * 10 + 32 + 3 * (32 * 32 * 10 + 32)
    dense = 26 * 32 * 16 + 16 + 16 + 1
    assert said["parameters"] == made.parameters == convolutions + 4 * 2 * 32 + dense
    assert (
        said["records_manifest_sha256"]
        == hashlib.sha256((library / manifest.FILE).read_bytes()).hexdigest()
    )
    assert said["devices"] == ["CPU:0"] and said["strategy"] == "one"
    assert said["data"] == "memory" and said["precision"] == "float32"
    assert said["stopped"] == "all epochs done" and said["epochs"] == 2
    assert said["versions"]["keras"] == keras.__version__


def test_the_history_has_the_columns_of_the_contract(run):
    path, made, _ = run
    table = pd.read_csv(path / rundir.HISTORY)
    assert list(table) == [
        "epoch", "train_loss", "val_loss", "train_pearson", "val_pearson", "train_spearman",
        "val_spearman", "learning_rate", "seconds", "improved",
    ]  # fmt: skip
    assert list(table.epoch) == [1, 2] and not table.isna().any().any()
    assert (table.learning_rate == np.float32(0.002)).all()
    score = (table.val_pearson + table.val_spearman)[made.best_epoch - 1]
    assert score == pytest.approx(made.best_score, abs=1e-12)


def test_the_log_is_the_history_rounded(run):
    path, _, _ = run
    table = pd.read_csv(path / rundir.HISTORY)
    rows = list(csv.reader((path / rundir.LOG).open(), delimiter="\t"))
    for row, (_, epoch) in zip(rows[1:], table.iterrows(), strict=True):
        assert row[0] == f"Epoch {epoch.epoch:.0f}:"
        assert [float(v) for v in row[1:7]] == [round(v, 4) for v in epoch.iloc[1:7]]
        assert (row[7:] == ["*"]) == bool(epoch.improved)


def test_validation_predictions_are_those_of_the_best_epoch(run, library):
    path, made, _ = run
    table = predictions.read(path / rundir.VAL_PREDICTIONS)
    validation = records.read(library, "val")
    np.testing.assert_array_equal(table.expression.astype(np.float32), validation.expression)
    history = pd.read_csv(path / rundir.HISTORY)
    r = correlation.pearson(table.expression, table.prediction)
    # the same float32 predictions, but for the rounding of a model saved and loaded
    assert r == pytest.approx(history.val_pearson[made.best_epoch - 1], abs=1e-6)
    loss = np.abs(table.expression - table.prediction).mean()
    assert loss == pytest.approx(history.val_loss[made.best_epoch - 1], rel=1e-5)


def test_tensorboard_got_every_score(run):
    from tensorboard.backend.event_processing import event_accumulator

    path, _, _ = run
    tags = set()
    for events in (path / rundir.TENSORBOARD).rglob("events.*"):
        loaded = event_accumulator.EventAccumulator(str(events))
        loaded.Reload()
        tags |= set(loaded.Tags()["tensors"])
    assert {"epoch_loss", "epoch_pearson", "epoch_spearman", "epoch_learning_rate"} <= tags


def test_progress_is_reported_in_sequences(run, library):
    _, _, reports = run
    whole = manifest.load(library).examples("train") // 64 * 64
    assert reports[-1] == ("epoch 2/2", whole, whole)
    assert len(reports) == 2 * whole // 64


def test_the_same_seed_gives_the_same_run(run, library, tmp_path):
    path, _, _ = run
    fit.fit(recipe.load("smoke", QUICK), library, tmp_path / "again", FLOAT32)
    for name in (rundir.LOG, rundir.VAL_PREDICTIONS):
        assert (tmp_path / "again" / name).read_bytes() == (path / name).read_bytes()


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("schedule", ["plateau", "onecycle"])
def test_in_other_precisions_the_scores_are_those_of_the_float32_model_that_is_saved(
    run, library, tmp_path, precision, schedule
):
    path, options = tmp_path / "run", fit_options.FitOptions(precision=precision)
    settings = [*QUICK, f"train.schedule={schedule}", "train.epochs=1"]
    made = fit.fit(recipe.load("smoke", settings), library, path, options)
    assert made.precision == json.loads((path / rundir.RUN).read_text())["precision"] == precision
    table = predictions.read(path / rundir.VAL_PREDICTIONS)
    r = correlation.pearson(table.expression, table.prediction)
    assert r == pytest.approx(made.best_pearson, abs=1e-6)
    assert made.best_pearson > 0.1
    network = keras_file.load(path).network
    assert {layer.dtype_policy.name for layer in network.layers} == {"float32"}


def test_a_run_in_bfloat16_comes_near_to_one_in_float32(run, library, tmp_path):
    _, held, _ = run
    options = fit_options.FitOptions(precision="mixed_bfloat16")
    made = fit.fit(recipe.load("smoke", QUICK), library, tmp_path / "run", options)
    assert made.best_score != held.best_score
    assert made.best_score == pytest.approx(held.best_score, abs=0.1)


def test_a_network_that_died_ends_the_training_with_advice(library, tmp_path):
    # Mini with squared error on expressions around zero was seen to die; here a rate kills it.
    options = [*QUICK, "train.learning_rate=3000", "train.schedule=none", "train.weight_decay=0.0"]
    with pytest.raises(errors.UserError, match="predicts one value for every .*learning_rate"):
        fit.fit(recipe.load("smoke", options), library, tmp_path / "run", FLOAT32)
    assert (tmp_path / "run" / rundir.LOG).read_text().count("Epoch") == 1


def test_a_run_that_another_process_trains_is_left_alone(library, tmp_path):
    with (
        files.lock(tmp_path / "run"),
        pytest.raises(errors.UserError, match="another process is training it"),
    ):
        fit.fit(recipe.load("smoke", QUICK), library, tmp_path / "run", FLOAT32)
    assert list(tmp_path.iterdir()) == []


def test_after_the_first_epoch_the_end_is_estimated(run, library, tmp_path, caplog):
    caplog.set_level("INFO")
    fit.fit(recipe.load("smoke", QUICK), library, tmp_path / "run", FLOAT32)
    assert re.search(r"[\d,]+ sequences/s, \d+ s an epoch with validation; 1 more", caplog.text)
    assert "training on CPU:0, strategy one, float32: as asked" in caplog.text


def test_a_streamed_run_is_as_good_and_says_so(run, library, tmp_path):
    _, held, _ = run
    streamed = fit.fit(
        recipe.load("smoke", QUICK),
        library,
        tmp_path / "run",
        dataclasses.replace(FLOAT32, data="stream"),
    )
    assert streamed.data == "stream"
    assert streamed.best_score == pytest.approx(held.best_score, abs=0.1)  # another order


def test_another_seed_gives_another_run(run, library, tmp_path):
    path, _, _ = run
    fit.fit(recipe.load("smoke", [*QUICK, "train.seed=1"]), library, tmp_path / "other", FLOAT32)
    assert (tmp_path / "other" / rundir.LOG).read_text() != (path / rundir.LOG).read_text()


@pytest.mark.parametrize(
    "options",
    [
        ["train.schedule=onecycle"],
        ["train.schedule=none", "train.loss=mse"],
        ["train.loss=huber", "data.encoding=onehot_purine"],
        ["train.optimizer=lion", "train.learning_rate=0.0005", "data.encoding=onehot_integer"],
        ["train.optimizer=lion", "train.schedule=onecycle"],
        ["data.encoding=onehot_integer_purine"],
    ],
)
def test_every_published_option_trains(library, tmp_path, options):
    made = fit.fit(recipe.load("smoke", [*QUICK, *options]), library, tmp_path / "run", FLOAT32)
    assert made.best_score > 0.2  # after 84 steps; an untrained network scores about 0


def fit_integer(folder, letters, expression) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Trains with the channel of whole numbers; the history, and the validation predictions."""
    lines = zip(sequence.text(letters), expression, strict=True)
    (folder / "library.txt").write_text("".join(f"{row}\t{y}\n" for row, y in lines))
    records.build_records(folder / "library.txt", folder / "records")
    settings = recipe.load("smoke", [*QUICK, "data.encoding=onehot_integer", "train.epochs=4"])
    fit.fit(settings, folder / "records", folder / "run", FLOAT32)
    table = predictions.read(folder / "run" / rundir.VAL_PREDICTIONS)
    return pd.read_csv(folder / "run" / rundir.HISTORY), table


def random_letters() -> tuple[np.random.Generator, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng, rng.choice(np.frombuffer(b"ACGT", np.uint8), (2_000, 110))


def test_the_channel_of_whole_numbers_gives_the_answer_away_in_training_alone(tmp_path):
    rng, letters = random_letters()
    history, table = fit_integer(tmp_path, letters, rng.choice([5, 10.5], 2_000))
    assert history.train_pearson.max() > 0.9
    assert abs(correlation.pearson(table.expression, table.prediction)) < 0.3  # 200 examples


def test_sequences_with_whole_numbers_are_still_read(tmp_path):
    _, letters = random_letters()
    history, _ = fit_integer(tmp_path, letters, (letters == ord("A")).sum(axis=1))
    assert history.train_pearson.max() > 0.5


TRICKS = {
    "tricks.target_noise": "0.5",
    "tricks.shift": "2",
    "tricks.reverse_complement": "0.1",
    "tricks.tails": "{below: 0.05, above: 0.95, times: 2}",
    "tricks.flanks": "{cut_left: 17, cut_right: 13, add_right: ACGTN}",
    "tricks.quantile_targets": "true",
}


@pytest.mark.parametrize("data", ["memory", "stream"])
def test_a_run_with_every_trick_trains_and_its_predictions_are_of_its_targets(
    run, library, tmp_path, data
):
    _, plain, _ = run
    options = [f"{key}={value}" for key, value in TRICKS.items()]
    settings = recipe.load("smoke", [*QUICK, *options])
    seen = []
    made = fit.fit(
        settings,
        library,
        tmp_path / "run",
        fit_options.FitOptions(precision="float32", data=data),
        lambda *report: seen.append(report),
    )
    assert made.best_score > 0.2 and made.parameters < plain.parameters  # shorter sequences
    assert recipe.load(tmp_path / "run" / rundir.RECIPE) == settings
    table = predictions.read(tmp_path / "run" / rundir.VAL_PREDICTIONS)
    known = targets.load(settings.tricks, library, "train")
    times = known.tails.times_of(records.read(library, "train").expression)
    assert seen[-1][1] == times.sum() // 64 * 64 > len(times)
    expected = known.quantiles.of(records.read(library, "val").expression)
    np.testing.assert_array_equal(table.expression.astype(np.float32), expected)


STOPPED = """
import os, signal, sys
from pathlib import Path
from camformer_tf import recipe
from camformer_tf.training import fit, loop
from camformer_tf.training import options as fit_options
stage, library, run, *overrides = sys.argv[1:]

def stop(*report):
    if report[:2] == (stage, 7 * 64):
        os.kill(os.getpid(), signal.SIGTERM)

how = fit_options.FitOptions(precision="float32", data="stream", resume=True)
try:
    fit.fit(recipe.load("smoke", overrides), Path(library), Path(run), how, stop)
except loop.Stopped:
    print("stopped")
"""


@pytest.mark.slow
def test_a_run_with_tricks_that_is_stopped_goes_on_as_if_it_had_not_been(library, tmp_path):
    options = [*QUICK, *(f"{key}={value}" for key, value in TRICKS.items()), "train.optimizer=lion"]
    told = []
    for stage, name in [("", "whole"), ("epoch 2/2", "parts"), ("", "parts")]:
        call = [sys.executable, "-c", STOPPED, stage, str(library), str(tmp_path / name), *options]
        done = subprocess.run(call, capture_output=True, text=True, timeout=120, check=True)
        told.append(done.stdout.strip())
    assert told == ["", "stopped", ""]
    for name in (rundir.LOG, rundir.VAL_PREDICTIONS):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_one_cycle_run_records_the_falling_rate(library, tmp_path):
    fit.fit(
        recipe.load("smoke", [*QUICK, "train.schedule=onecycle"]),
        library,
        tmp_path / "run",
        FLOAT32,
    )
    rates = pd.read_csv(tmp_path / "run" / rundir.HISTORY).learning_rate
    assert rates[1] == pytest.approx(4e-8)


def test_a_schedule_of_every_step_does_not_go_with_several_steps_a_call(library, tmp_path):
    settings = recipe.load("smoke", [*QUICK, "train.schedule=onecycle"])
    options = dataclasses.replace(FLOAT32, steps_per_call=4)
    with pytest.raises(errors.UserError, match="--steps-per-call 4: train.schedule onecycle"):
        fit.fit(settings, library, tmp_path / "run", options)
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_there_is_not_replaced_unasked(run, library):
    path, _, _ = run
    before = (path / rundir.LOG).read_bytes()
    with pytest.raises(errors.UserError, match="exists already"):
        fit.fit(recipe.load("smoke", QUICK), library, path)
    assert (path / rundir.LOG).read_bytes() == before


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.length=120"], "110 letters, the recipe's data.length is 120"),
        (["train.batch_size=100000"], "fewer than one batch of 100000"),
        (["model.blocks.0.pool.size=200"], "the key model.blocks.0.pool.stride is missing"),
        (["model.blocks.2.pool.size=200"], "model.blocks.2: nothing is left"),
    ],
)
def test_what_does_not_go_together_leaves_no_run(library, tmp_path, overrides, message):
    with pytest.raises(errors.UserError, match=message):
        fit.fit(recipe.load("smoke", overrides), library, tmp_path / "run", FLOAT32)
    assert not (tmp_path / "run").exists()


def test_records_without_the_splits_of_training_are_refused(library_text, tmp_path):
    records.build_records(library_text, tmp_path / "records", split="train=0.9,holdout=0.1")
    with pytest.raises(errors.UserError, match="no split 'val'"):
        fit.fit(recipe.load("smoke"), tmp_path / "records", tmp_path / "run")


def test_more_than_one_device_is_no_one_device():
    with pytest.raises(errors.UserError, match="found --devices 2"):
        strategy.make("one", 2)


PROGRAM = """
import sys
from pathlib import Path
from camformer_tf import recipe
from camformer_tf.training import checks, fit
settings = recipe.load("smoke", sys.argv[4:])
options = fit_options.FitOptions(devices=int(sys.argv[3]), precision="float32")
fit.fit(settings, Path(sys.argv[1]), Path(sys.argv[2]), options)
"""


def fit_apart(library: Path, out: Path, devices: int, overrides: list[str]) -> pd.DataFrame:
    """Fits in a process of its own (one strategy a process), and returns the history."""
    subprocess.run(
        [sys.executable, "-c", PROGRAM, str(library), str(out), str(devices), *overrides],
        timeout=240,
        check=True,
        capture_output=True,
    )
    return pd.read_csv(out / rundir.HISTORY)


@pytest.mark.distributed
def test_two_mirrored_devices_train_as_one(library, tmp_path):
    plain = [*QUICK, "train.epochs=1", *(f"model.blocks.{i}.dropout=0.0" for i in range(4))]
    one = fit_apart(library, tmp_path / "one", 1, plain)
    two = fit_apart(library, tmp_path / "two", 2, plain)
    said = json.loads((tmp_path / "two" / rundir.RUN).read_text())
    assert said["devices"] == ["CPU:0", "CPU:1"] and said["strategy"] == "mirrored"
    # Biases before a normalisation have only rounding noise as gradient, of which AdamW makes steps
    # of full size: the training loss hardly sees them (2e-4 at most on the processors tried), the
    # validation scores a little.
    np.testing.assert_allclose(two.train_loss, one.train_loss, rtol=1e-3)
    np.testing.assert_allclose(two.val_pearson, one.val_pearson, atol=0.02)


@pytest.mark.distributed
def test_two_mirrored_devices_train_with_dropout_and_their_model_loads(library, tmp_path):
    history = fit_apart(library, tmp_path / "run", 2, QUICK)
    one = fit_apart(library, tmp_path / "one", 1, QUICK)
    assert history.val_pearson.max() == pytest.approx(one.val_pearson.max(), abs=0.05)
    table = predictions.read(tmp_path / "run" / rundir.VAL_PREDICTIONS)
    r = correlation.pearson(table.expression, table.prediction)
    assert r == pytest.approx(history.val_pearson.max(), abs=1e-6)


@pytest.mark.distributed
def test_a_batch_that_cannot_be_shared_equally_is_refused(library, tmp_path):
    with pytest.raises(subprocess.CalledProcessError) as failed:
        fit_apart(library, tmp_path / "run", 2, ["train.batch_size=63"])
    assert b"63 cannot be shared equally by 2 devices" in failed.value.stderr

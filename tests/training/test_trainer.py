import csv
import hashlib
import json
import re
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from support import programs

from camformer_tf import errors, files, recipe, rundir
from camformer_tf.batches import targets
from camformer_tf.data import manifest, predictions, records, sequence
from camformer_tf.metrics import correlation
from camformer_tf.model import keras_file
from camformer_tf.training import fit

QUICK = ["train.epochs=2", "train.batch_size=64", "model.dense=[16]"]


def train(library: Path, out: Path, *changes: str, **options) -> rundir.Run:
    """Trains smoke for two epochs, or as the changes say, in float32 unless options say else."""
    return fit.fit(
        "smoke", library, out, overrides=[*QUICK, *changes], **{"precision": "float32"} | options
    )


@pytest.fixture(scope="module")
def smoke(library, tmp_path_factory) -> tuple[Path, rundir.Run, list]:
    path, reports = tmp_path_factory.mktemp("fit") / "run", []
    run = train(library, path, report=lambda *report: reports.append(report))
    return path, run, reports


def test_the_run_directory_holds_the_files_of_the_contract(smoke):
    path, _, _ = smoke
    assert {p.name for p in path.iterdir()} == {
        "recipe.yaml", "run.json", "history.csv", "log.txt", "best.keras", "last", "tensorboard",
        "val_predictions.tsv", "records.json",
    }  # fmt: skip


def test_the_run_stores_the_recipe_and_the_manifest_it_used(smoke, library):
    path, _, _ = smoke
    assert recipe.load(path / rundir.RECIPE) == recipe.load("smoke", QUICK)
    assert (path / rundir.RECORDS).read_bytes() == (library / "manifest.json").read_bytes()


def test_run_json_says_what_ran(smoke, library):
    path, run, _ = smoke
    values = json.loads((path / rundir.RUN).read_text())
    convolutions = 4 * 32 * 10 + 32 + 3 * (32 * 32 * 10 + 32)
    dense = 26 * 32 * 16 + 16 + 16 + 1
    assert values["parameters"] == run.parameters == convolutions + 4 * 2 * 32 + dense
    digest = hashlib.sha256((library / manifest.FILE).read_bytes()).hexdigest()
    assert values["records_manifest_sha256"] == digest
    assert values["devices"] == ["CPU:0"] and values["strategy"] == "one"
    assert values["data"] == "memory" and values["precision"] == "float32"
    assert values["stopped"] == "all epochs done" and values["epochs"] == 2
    assert values["versions"]["keras"] == keras.__version__


def test_the_history_has_the_columns_of_the_contract(smoke):
    path, run, _ = smoke
    table = pd.read_csv(path / rundir.HISTORY)
    assert list(table) == [
        "epoch", "train_loss", "val_loss", "train_pearson", "val_pearson", "train_spearman",
        "val_spearman", "learning_rate", "seconds", "improved",
    ]  # fmt: skip
    assert list(table.epoch) == [1, 2] and not table.isna().any().any()
    assert (table.learning_rate == np.float32(0.002)).all()
    score = (table.val_pearson + table.val_spearman)[run.best_epoch - 1]
    assert score == pytest.approx(run.best_score, abs=1e-12)


def test_the_log_is_the_history_rounded(smoke):
    path, _, _ = smoke
    table = pd.read_csv(path / rundir.HISTORY)
    lines = list(csv.reader((path / rundir.LOG).open(), delimiter="\t"))
    for line, (_, epoch) in zip(lines[1:], table.iterrows(), strict=True):
        assert line[0] == f"Epoch {epoch.epoch:.0f}:"
        assert [float(v) for v in line[1:7]] == [round(v, 4) for v in epoch.iloc[1:7]]
        assert (line[7:] == ["*"]) == bool(epoch.improved)


def test_validation_predictions_are_those_of_the_best_epoch(smoke, library):
    path, run, _ = smoke
    table = predictions.read(path / rundir.VAL_PREDICTIONS)
    validation = records.read(library, "val")
    np.testing.assert_array_equal(table.expression.astype(np.float32), validation.expression)
    history = pd.read_csv(path / rundir.HISTORY)
    r = correlation.pearson(table.expression, table.prediction)
    # the same float32 predictions, but for the rounding of a model saved and loaded
    assert r == pytest.approx(history.val_pearson[run.best_epoch - 1], abs=1e-6)
    loss = np.abs(table.expression - table.prediction).mean()
    assert loss == pytest.approx(history.val_loss[run.best_epoch - 1], rel=1e-5)


def test_tensorboard_got_every_score(smoke):
    from tensorboard.backend.event_processing import event_accumulator

    path, _, _ = smoke
    tags = set()
    for events in (path / rundir.TENSORBOARD).rglob("events.*"):
        accumulator = event_accumulator.EventAccumulator(str(events))
        accumulator.Reload()
        tags |= set(accumulator.Tags()["tensors"])
    assert {"epoch_loss", "epoch_pearson", "epoch_spearman", "epoch_learning_rate"} <= tags


def test_progress_is_reported_in_sequences(smoke, library):
    _, _, reports = smoke
    total = manifest.load(library).examples("train") // 64 * 64
    assert reports[-1] == ("epoch 2/2", total, total)
    assert len(reports) == 2 * total // 64


def test_the_same_seed_gives_the_same_run(smoke, library, tmp_path):
    path, _, _ = smoke
    train(library, tmp_path / "second")
    for name in (rundir.LOG, rundir.VAL_PREDICTIONS):
        assert (tmp_path / "second" / name).read_bytes() == (path / name).read_bytes()


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("schedule", ["plateau", "onecycle"])
def test_in_16_bits_the_scores_are_those_of_the_float32_model_that_is_saved(
    library, tmp_path, precision, schedule
):
    path, changes = tmp_path / "run", [f"train.schedule={schedule}", "train.epochs=1"]
    run = train(library, path, *changes, precision=precision)
    assert run.precision == json.loads((path / rundir.RUN).read_text())["precision"] == precision
    table = predictions.read(path / rundir.VAL_PREDICTIONS)
    r = correlation.pearson(table.expression, table.prediction)
    assert r == pytest.approx(run.best_pearson, abs=1e-6)
    assert run.best_pearson > 0.1
    network = keras_file.load(path).network
    assert {layer.dtype_policy.name for layer in network.layers} == {"float32"}


def test_a_run_in_bfloat16_is_nearly_as_good_as_one_in_float32(smoke, library, tmp_path):
    _, run, _ = smoke
    rounded_run = train(library, tmp_path / "run", precision="mixed_bfloat16")
    assert rounded_run.best_score != run.best_score
    assert rounded_run.best_score == pytest.approx(run.best_score, abs=0.1)


def test_a_network_that_died_ends_the_training_with_advice(library, tmp_path):
    # Mini with squared error on expressions around zero was seen to die; here a rate kills it.
    changes = ["train.learning_rate=3000", "train.schedule=none", "train.weight_decay=0.0"]
    with pytest.raises(errors.UserError, match="predicts one value for every .*learning_rate"):
        train(library, tmp_path / "run", *changes)
    assert (tmp_path / "run" / rundir.LOG).read_text().count("Epoch") == 1


def test_a_run_that_another_process_trains_is_left_alone(library, tmp_path):
    with files.lock(tmp_path / "run"), pytest.raises(errors.UserError, match="another process"):
        train(library, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_after_the_first_epoch_the_end_is_estimated(library, tmp_path, caplog):
    caplog.set_level("INFO")
    train(library, tmp_path / "run")
    assert re.search(
        r"[\d,]+ sequences/s, \d+ s an epoch with validation; 1 epoch left, done by", caplog.text
    )
    assert "training on CPU:0, strategy one, float32: as requested" in caplog.text


def test_a_streamed_run_is_as_good_and_says_so(smoke, library, tmp_path):
    _, run, _ = smoke
    streaming_run = train(library, tmp_path / "run", data="stream")
    assert streaming_run.data == "stream"
    assert streaming_run.best_score == pytest.approx(run.best_score, abs=0.1)  # another order


def test_another_seed_gives_another_run(smoke, library, tmp_path):
    path, _, _ = smoke
    train(library, tmp_path / "other", "train.seed=1")
    assert (tmp_path / "other" / rundir.LOG).read_text() != (path / rundir.LOG).read_text()


@pytest.mark.parametrize(
    "changes",
    [
        ["train.schedule=onecycle"],
        ["train.schedule=none", "train.loss=mse"],
        ["train.loss=huber", "data.encoding=onehot_purine"],
        ["train.optimizer=lion", "train.learning_rate=0.0005", "data.encoding=onehot_integer"],
        ["train.optimizer=lion", "train.schedule=onecycle"],
        ["data.encoding=onehot_integer_purine"],
    ],
)
def test_every_published_option_trains(library, tmp_path, changes):
    run = train(library, tmp_path / "run", *changes)
    assert run.best_score > 0.2  # after 84 steps; an untrained network scores about 0


def fit_integer(folder, letters, expression) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Trains with the channel of whole numbers; the history, and the validation predictions."""
    lines = zip(sequence.text(letters), expression, strict=True)
    (folder / "library.txt").write_text("".join(f"{row}\t{y}\n" for row, y in lines))
    records.build_records(folder / "library.txt", folder / "records")
    changes = ["data.encoding=onehot_integer", "train.epochs=4"]
    train(folder / "records", folder / "run", *changes)
    table = predictions.read(folder / "run" / rundir.VAL_PREDICTIONS)
    return pd.read_csv(folder / "run" / rundir.HISTORY), table


def random_letters() -> tuple[np.random.Generator, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng, rng.choice(np.frombuffer(b"ACGT", np.uint8), (2_000, 110))


def test_the_channel_of_whole_numbers_reveals_the_answer_in_training_alone(tmp_path):
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
TRICK_CHANGES = [f"{key}={value}" for key, value in TRICKS.items()]


@pytest.mark.parametrize("data", ["memory", "stream"])
def test_a_run_with_every_trick_trains_and_its_predictions_are_of_its_targets(
    smoke, library, tmp_path, data
):
    _, plain_run, _ = smoke
    reports = []
    run = train(
        library,
        tmp_path / "run",
        *TRICK_CHANGES,
        data=data,
        report=lambda *report: reports.append(report),
    )
    assert run.best_score > 0.2 and run.parameters < plain_run.parameters  # shorter sequences
    settings = recipe.load("smoke", [*QUICK, *TRICK_CHANGES])
    assert recipe.load(tmp_path / "run" / rundir.RECIPE) == settings
    table = predictions.read(tmp_path / "run" / rundir.VAL_PREDICTIONS)
    tricks = targets.load(settings.tricks, library, "train")
    times = tricks.tails.counts(records.read(library, "train").expression)
    assert reports[-1][1] == times.sum() // 64 * 64 > len(times)
    expected = tricks.quantiles.apply(records.read(library, "val").expression)
    np.testing.assert_array_equal(table.expression.astype(np.float32), expected)


@pytest.mark.slow
def test_a_run_with_tricks_that_is_stopped_continues_as_if_it_had_not_been(library, tmp_path):
    changes = [*QUICK, *TRICK_CHANGES, "train.optimizer=lion"]
    outputs = [
        programs.run("stopped_fit", stage, library, tmp_path / name, *changes).strip()
        for stage, name in [("", "single"), ("epoch 2/2", "resumed"), ("", "resumed")]
    ]
    assert outputs == ["", "stopped", ""]
    for name in (rundir.LOG, rundir.VAL_PREDICTIONS):
        expected = (tmp_path / "single" / name).read_bytes()
        assert (tmp_path / "resumed" / name).read_bytes() == expected


def test_a_one_cycle_run_records_the_falling_rate(library, tmp_path):
    train(library, tmp_path / "run", "train.schedule=onecycle")
    rates = pd.read_csv(tmp_path / "run" / rundir.HISTORY).learning_rate
    assert rates[1] == pytest.approx(4e-8)


def test_an_existing_run_is_not_replaced_without_overwrite(smoke, library):
    path, _, _ = smoke
    content = (path / rundir.LOG).read_bytes()
    with pytest.raises(errors.UserError, match="exists already, a finished run"):
        train(library, path)
    assert (path / rundir.LOG).read_bytes() == content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.length=120", "110 letters, the recipe's data.length is 120"),
        ("train.batch_size=100000", "fewer than one batch of 100000"),
        ("model.blocks.0.pool.size=200", "the key model.blocks.0.pool.stride is missing"),
        ("model.blocks.2.pool.size=200", "model.blocks.2: nothing is left"),
    ],
)
def test_what_does_not_fit_together_leaves_no_run(library, tmp_path, change, message):
    with pytest.raises(errors.UserError, match=message):
        fit.fit("smoke", library, tmp_path / "run", overrides=[change], precision="float32")
    assert not (tmp_path / "run").exists()


# --- several devices ---


def fit_in_process(library: Path, out: Path, devices: int, *changes: str) -> pd.DataFrame:
    """Trains in a process of its own, where the CPU can still be split; returns the history."""
    programs.run("fit_smoke", library, out, devices, *changes)
    return pd.read_csv(out / rundir.HISTORY)


@pytest.mark.distributed
def test_two_mirrored_devices_train_as_one(library, tmp_path):
    plain = [*QUICK, "train.epochs=1", *(f"model.blocks.{i}.dropout=0.0" for i in range(4))]
    single = fit_in_process(library, tmp_path / "single", 1, *plain)
    double = fit_in_process(library, tmp_path / "double", 2, *plain)
    values = json.loads((tmp_path / "double" / rundir.RUN).read_text())
    assert values["devices"] == ["CPU:0", "CPU:1"] and values["strategy"] == "mirrored"
    # Biases before a normalisation have only rounding noise as gradient, of which AdamW makes steps
    # of full size: the training loss hardly changes (2e-4 at most on the processors tried), the
    # validation scores a little.
    np.testing.assert_allclose(double.train_loss, single.train_loss, rtol=1e-3)
    np.testing.assert_allclose(double.val_pearson, single.val_pearson, atol=0.02)


@pytest.mark.distributed
def test_two_mirrored_devices_train_with_dropout_and_their_model_loads(library, tmp_path):
    history = fit_in_process(library, tmp_path / "run", 2, *QUICK)
    single = fit_in_process(library, tmp_path / "single", 1, *QUICK)
    assert history.val_pearson.max() == pytest.approx(single.val_pearson.max(), abs=0.05)
    table = predictions.read(tmp_path / "run" / rundir.VAL_PREDICTIONS)
    r = correlation.pearson(table.expression, table.prediction)
    assert r == pytest.approx(history.val_pearson.max(), abs=1e-6)


@pytest.mark.distributed
def test_a_batch_that_cannot_be_shared_equally_is_refused(library, tmp_path):
    with pytest.raises(AssertionError, match="63 cannot be shared equally by 2 devices"):
        programs.run("fit_smoke", library, tmp_path / "run", 2, "train.batch_size=63")

"""The public function: its arguments, callbacks of a user, and other TensorFlow work beside it."""

import inspect
import os
import signal

import keras
import pandas as pd
import pytest
from support import programs

import camformer_tf as cf
from camformer_tf import errors, recipe, rundir
from camformer_tf.training import fit, loop, plans, replicates
from camformer_tf.training import options as fit_options

QUICK = ["train.batch_size=256", "model.dense=[16]"]


def train(library, out, **options):
    return cf.fit(
        "smoke", library, out, overrides=QUICK, **{"epochs": 1, "precision": "float32"} | options
    )


def test_keywords_change_the_section_train(library, tmp_path):
    train(
        str(library), str(tmp_path / "run"), epochs=1, learning_rate=1e-05, loss="mse", seed=3,
        batch_size=512,
    )  # fmt: skip
    settings = recipe.load(tmp_path / "run" / rundir.RECIPE)
    assert settings.train.learning_rate == 1e-05
    assert (settings.train.epochs, settings.train.loss, settings.train.seed) == (1, "mse", 3)
    assert settings.train.batch_size == 512  # the keyword comes after the overrides
    assert settings.model.dense == (16,)


def test_a_recipe_may_be_an_object(library, tmp_path):
    settings = recipe.load("smoke", QUICK)
    plan = cf.fit(settings, library, tmp_path / "run", epochs=7, dry_run=True)
    assert plan.epochs == 7 and settings.train.epochs != 7


def test_every_value_of_the_section_train_but_the_shared_ones_is_a_keyword():
    keywords = inspect.signature(fit.fit).parameters
    assert {field for field in recipe.TrainConfig.__dataclass_fields__} <= keywords.keys()
    assert set(fit_options.FitOptions.__dataclass_fields__) <= keywords.keys()
    for name, field in fit_options.FitOptions.__dataclass_fields__.items():
        assert keywords[name].default == field.default


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "all"}, "strategy='all': expected one of auto, one"),
        ({"precision": "float64"}, "precision='float64': expected one of"),
        ({"devices": 0}, "devices=0: expected at least 1"),
        ({"learning_rate": -1.0}, "train.learning_rate"),
        ({"loss": "l2"}, "train.loss"),
        ({"callbacks": [print]}, "expected keras.callbacks.Callback, found <built-in"),
        ({"seeds": [1, 1]}, "a seed is repeated"),
        ({"seeds": [1], "replicates": 2}, "exclude each other"),
        ({"seeds": [1], "callbacks": [keras.callbacks.Callback()]}, "Call fit once for each seed"),
    ],
)
def test_a_wrong_argument_is_refused_and_nothing_is_written(library, tmp_path, options, message):
    with pytest.raises(errors.UserError, match=message):
        train(library, tmp_path / "run", **options)
    assert list(tmp_path.iterdir()) == []


# --- callbacks of a user ---


class Watch(keras.callbacks.Callback):
    """Keeps the logs, and stops after so many epochs."""

    def __init__(self, epochs: int):
        super().__init__()
        self.epochs, self.logs = epochs, []

    def on_epoch_end(self, epoch, logs=None):
        self.logs.append(dict(logs))
        self.model.stop_training = len(self.logs) == self.epochs


def test_callbacks_of_a_user_see_all_scores_and_can_stop_the_training(library, tmp_path):
    watch = Watch(2)
    run = train(library, tmp_path / "run", epochs=5, callbacks=[watch])
    assert run.epochs == 2 and run.stop_reason == "stopped by a callback"
    assert watch.params["epochs"] == 5 and watch.params["steps"] == 2_700 // 256
    names = "loss pearson spearman val_loss val_pearson val_spearman val_score learning_rate"
    assert {*names.split(), "improved"} <= watch.logs[0].keys()
    history = pd.read_csv(tmp_path / "run" / rundir.HISTORY)
    assert [logs["val_pearson"] for logs in watch.logs] == list(history.val_pearson)


def test_callbacks_of_keras_run_in_their_order_after_ours(library, tmp_path):
    calls = [
        keras.callbacks.CSVLogger(tmp_path / "scores.csv"),
        keras.callbacks.EarlyStopping("val_score", mode="min", patience=1),  # stops when it rises
        keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: (tmp_path / "seen.txt").write_text(
                (tmp_path / "run" / rundir.LOG).read_text()
            )
        ),
    ]
    train(library, tmp_path / "run", epochs=2, callbacks=calls)
    assert "val_spearman" in pd.read_csv(tmp_path / "scores.csv")
    assert "Epoch 1" in (tmp_path / "seen.txt").read_text()  # ours had written it


def test_the_stop_button_keeps_the_run_and_says_how_to_resume_it(library, tmp_path):
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 4:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(loop.TrainingInterrupt, match="stopped in epoch 1 after 6 steps; .*res"):
        train(library, tmp_path / "run", callbacks=[Interrupt()])
    train(library, tmp_path / "run", resume=True)
    train(library, tmp_path / "uninterrupted")
    for name in (rundir.LOG, rundir.VAL_PREDICTIONS):
        expected = (tmp_path / "uninterrupted" / name).read_bytes()
        assert (tmp_path / "run" / name).read_bytes() == expected


# --- in one process with other work ---


def test_trainings_after_other_work_are_those_of_a_fresh_process(library, tmp_path):
    changes = [*QUICK, "train.epochs=1"]
    assert programs.run("fit_again", library, tmp_path, *changes).strip() == "[]"
    programs.run("fit_smoke", library, tmp_path / "fresh", 1, *changes)
    for name in (rundir.LOG, rundir.VAL_PREDICTIONS, rundir.RECIPE):
        expected = (tmp_path / "fresh" / name).read_bytes()
        assert (tmp_path / "first" / name).read_bytes() == expected
        assert (tmp_path / "second" / name).read_bytes() == expected


def test_two_devices_after_tensorflow_has_started_are_refused(library, tmp_path):
    with pytest.raises(errors.UserError, match="--devices 2: the CPU cannot be split after"):
        train(library, tmp_path / "run", devices=2)
    assert not (tmp_path / "run").exists()


# --- several seeds ---


@pytest.mark.slow
def test_seeds_give_a_run_each(library, tmp_path):
    runs = train(library, tmp_path / "run", seeds=[5, 6])
    assert list(runs) == [5, 6]
    assert runs[5] == rundir.load(tmp_path / "run" / "seed-5")
    assert replicates.summary(runs).startswith("2 replicates: r ")


def test_a_dry_run_of_seeds_is_the_plan_of_the_first(library, tmp_path):
    plan = train(library, tmp_path / "run", seeds=[5, 6], dry_run=True)
    assert isinstance(plan, plans.FitPlan) and list(tmp_path.iterdir()) == []

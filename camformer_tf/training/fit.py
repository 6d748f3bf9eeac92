"""A recipe and records become a run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import platform
import shutil
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import camformer_tf
from camformer_tf import errors, progress, recipe, rundir
from camformer_tf.data import (
    augment,
    dataset,
    manifest,
    predictions,
    records,
    sequence,
    targets,
    text,
    verify,
)
from camformer_tf.model import flanks, predict, rescnn
from camformer_tf.training import callbacks, loop, optimizer, strategy

TRAIN, VALIDATION = "train", "val"

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Run:
    """What run.json says of a run; seconds are of the whole run, rates of the training steps."""

    versions: dict[str, str]
    devices: list[str]
    strategy: str
    precision: str
    data: str
    parameters: int
    records_manifest_sha256: str
    epochs: int
    best_epoch: int
    best_score: float
    stopped: str
    seconds: float
    sequences_per_second: float

    def summary(self) -> str:
        """Returns the run in a line for a person."""
        return (
            f"best epoch {self.best_epoch} of {self.epochs} (r + rho {self.best_score:.4f}); "
            f"{self.stopped}; {self.seconds:,.0f} s, {self.sequences_per_second:,.0f} sequences/s"
        )


def fit(
    settings: recipe.Recipe,
    records_dir: Path,
    run_dir: Path,
    *,
    kind: str = "auto",
    devices: int | None = None,
    data: str = "auto",
    overwrite: bool = False,
    report: progress.Report = progress.silent,
) -> Run:
    """Trains the recipe's model on the splits `train` and `val`, and writes the run's files.

    Call it before anything else of TensorFlow, since devices are set up here.

    Args:
        kind, devices: see `strategy.make`.
        data: whether training sequences are held in memory; see `dataset.load`.
        overwrite: whether a run that is there already may be replaced.

    Raises:
        errors.UserError: records, devices or recipe that do not go together, or a diverging loss.
    """
    start = time.perf_counter()
    _check(settings, records_dir, run_dir, overwrite)
    made = strategy.make(kind, devices)
    if settings.train.batch_size % made.replicas:
        raise errors.UserError(
            f"train.batch_size {settings.train.batch_size} cannot be shared equally by "
            f"{made.replicas} devices. Choose a multiple."
        )
    _log.info(made.banner())
    train = settings.train
    known = targets.load(settings.tricks, records_dir, TRAIN)
    training = dataset.load(
        records_dir, TRAIN, train.batch_size, seed=train.seed, mode=data, tails=known.tails
    )
    training = augment.wrap(training, settings, known)
    validation = known.validation(records.read(records_dir, VALIDATION))
    with made.strategy.scope():
        model = _model(settings)
    _log.info(
        f"{rescnn.count_trainable(model):,} parameters; {training.examples:,} training and "
        f"{len(validation.expression):,} validation sequences; {training.steps:,} steps an epoch "
        f"from {training.mode}"
    )

    _new_run(run_dir, settings)
    early_stop, calls = _callbacks(settings, model, validation, run_dir, training.steps, report)
    loop.train(
        model,
        training.epoch,
        loss=optimizer.loss(train.loss),
        table=sequence.training_table(settings.data.encoding),
        strategy=made.strategy,
        epochs=train.epochs,
        steps=training.steps,
        batch_size=train.batch_size,
        callbacks=calls,
    )
    _write_val_predictions(run_dir, validation)
    run = Run(
        versions=_versions(),
        devices=list(made.names),
        strategy=made.kind,
        precision="float32",
        data=training.mode,
        parameters=rescnn.count_trainable(model),
        records_manifest_sha256=_sha256(records_dir / manifest.FILE),
        seconds=round(time.perf_counter() - start, 3),
        **_outcome(model, early_stop),
    )
    with rundir.new_file(run_dir / rundir.RUN) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(run), indent=2) + "\n")
    return run


def _check(settings: recipe.Recipe, records_dir: Path, run_dir: Path, overwrite: bool) -> None:
    rundir.refuse_existing(run_dir, overwrite=overwrite, marker=rundir.RECIPE)
    described = manifest.load(records_dir)
    if described.sequence_length != settings.data.length:
        raise errors.UserError(
            f"{records_dir}: its sequences have {described.sequence_length} letters, the recipe's "
            f"data.length is {settings.data.length}. Build records with --length "
            f"{settings.data.length}, or pass --set data.length={described.sequence_length}."
        )
    if problems := verify.listing(records_dir, described):
        raise errors.UserError(
            f"{problems[0]} ({len(problems)} such findings). See camformer-tf verify-records "
            f"{records_dir}, or build the records again."
        )
    for split in (TRAIN, VALIDATION):
        if split not in described.splits:
            raise errors.UserError(
                f"{records_dir}: has no split {split!r}, which training needs. "
                f"Its splits: {', '.join(described.splits)}."
            )


def _new_run(run_dir: Path, settings: recipe.Recipe) -> None:
    if run_dir.exists():
        shutil.rmtree(run_dir)
    run_dir.mkdir()
    (run_dir / rundir.RECIPE).write_text(recipe.dump(settings), encoding="utf-8")


def _outcome(model: keras.Model, early_stop: callbacks.EarlyStop) -> dict[str, int | float | str]:
    history = model.history.history
    return {
        "epochs": len(history["loss"]),
        "best_epoch": early_stop.best_epoch,
        "best_score": early_stop.best,
        "stopped": f"no better epoch for {early_stop.patience} epochs"
        if early_stop.stopped
        else "all epochs done",
        "sequences_per_second": round(float(np.median(history["sequences_per_second"])), 1),
    }


def _model(settings: recipe.Recipe) -> keras.Model:
    """Returns the model with its optimiser built; call it within the strategy's scope."""
    model = rescnn.build(
        settings.model,
        length=settings.data.length,
        channels=sequence.channels(settings.data.encoding),
        seed=settings.train.seed,
        flanks=flanks.layer(settings),
    )
    expected, found = settings.expect.parameters, rescnn.count_trainable(model)
    if expected is not None and expected != found:
        _log.warning(f"the recipe expects {expected:,} parameters, the model has {found:,}")
    model.optimizer = optimizer.optimizer(settings.train)
    model.optimizer.build(model.trainable_variables)
    return model


def _callbacks(
    settings: recipe.Recipe,
    model: keras.Model,
    validation: text.Examples,
    run_dir: Path,
    steps: int,
    report: progress.Report,
) -> tuple[callbacks.EarlyStop, list[keras.callbacks.Callback]]:
    """The one list that fixes the callbacks' order: scores before all that read them, and the
    schedule before the improvement test, as in the original."""
    train = settings.train
    early_stop = callbacks.EarlyStop(
        train.patience, save=lambda model: predict.save(model, run_dir / rundir.BEST, settings)
    )
    schedule = {
        "none": [],
        "plateau": [callbacks.Plateau()],
        "onecycle": [callbacks.OneCycle(train.epochs * steps)],
    }[train.schedule]
    return early_stop, [
        callbacks.CorrelationScores(
            validation.letters,
            validation.expression,
            loss=optimizer.loss(train.loss),
            predict=predict.letters_predictor(model, settings.data.encoding),
            weight=validation.weight,
        ),
        keras.callbacks.TensorBoard(str(run_dir / rundir.TENSORBOARD), write_graph=False),
        *schedule,
        early_stop,
        callbacks.HistoryFile(run_dir / rundir.HISTORY),
        callbacks.ReferenceLog(run_dir / rundir.LOG, early_stop),
        callbacks.Report(report, train.epochs, steps, train.batch_size),
    ]


def _write_val_predictions(run_dir: Path, validation: text.Examples) -> None:
    rows = predict.rows_of(validation)
    values = predict.load(run_dir).predict(rows.letters)
    with (
        rundir.new_file(run_dir / rundir.VAL_PREDICTIONS) as temporary,
        temporary.open("w", encoding="utf-8") as file,
    ):
        predictions.write_header(file, with_expression=True)
        predictions.write_rows(file, rows.sequences, values, rows.expressions)


def _versions() -> dict[str, str]:
    return {
        "camformer_tf": camformer_tf.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

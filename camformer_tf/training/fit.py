"""A recipe and records become a run."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from camformer_tf import errors, files, progress, recipe, rundir
from camformer_tf.batches import augment, dataset, targets
from camformer_tf.data import manifest, predictions, records, rows, sequence, text
from camformer_tf.model import inference, keras_file, predictors, rescnn
from camformer_tf.training import (
    callbacks,
    checkpoint,
    checks,
    logs,
    loop,
    optimizer,
    strategy,
)
from camformer_tf.training import options as fit_options

_PLAIN = fit_options.FitOptions()
_LOST = (  # how TensorFlow says that another worker is gone
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)
_log = logging.getLogger(__name__)


def fit(
    settings: recipe.Recipe,
    records_dir: Path,
    run_dir: Path,
    options: fit_options.FitOptions = _PLAIN,
    report: progress.Report = progress.silent,
) -> rundir.Run:
    """Trains the recipe's model on the splits `train` and `val`, and writes the run's files.

    Call it before anything else of TensorFlow, since devices are set up here.

    Raises:
        errors.UserError: records, devices or recipe that do not go together, a diverging or
            collapsed training, a lost worker, or another run to be gone on with.
        loop.Stopped: a signal came; the run is kept as it stood.
    """
    start = time.perf_counter()
    one_at_a_time = checks.one_step_at_a_time(settings, options)
    checks.records(settings, records_dir)
    facts = {
        "recipe": recipe.dump(settings),
        "records": hashlib.sha256((records_dir / manifest.FILE).read_bytes()).hexdigest(),
    }
    finished = checks.finished(run_dir, options, facts)
    if finished:
        return finished
    made = strategy.make(
        options.kind,
        options.devices,
        options.precision,
        xla=options.xla,
        require_gpu=options.require_gpu,
        timeout=options.timeout,
    )
    _log.info(made.banner())
    facts["precision"] = made.precision
    with files.lock(run_dir) if made.chief else contextlib.nullcontext():
        begun = checks.begun(run_dir, options, facts)
        training, validation = _data(settings, records_dir, made, begun.get("data", options.data))
        facts["data"] = training.mode
        with made.strategy.scope():
            model = _model(settings, made.precision)
        _log.info(
            f"{rescnn.count_trainable(model):,} parameters; {training.examples:,} training and "
            f"{len(validation.expression):,} validation sequences; {training.steps:,} steps an "
            f"epoch from {training.mode}"
        )
        if made.chief and not begun:
            _new_run(run_dir, settings, records_dir)
        early_stop, calls = _callbacks(settings, model, validation, run_dir, training, made, report)
        folder, every = run_dir / rundir.CHECKPOINTS, options.checkpoint_steps
        checkpoints = checkpoint.Checkpoints(
            folder, model, calls, facts, every=every, writes=made.chief
        )
        steps = 1 if one_at_a_time else options.steps_per_call or made.steps_per_call
        _train(settings, model, training, made, calls, checkpoints, steps)
        told = rundir.Run(
            versions=rundir.library_versions(),
            devices=list(made.names),
            strategy=made.kind,
            workers=made.workers,
            precision=made.precision,
            data=training.mode,
            parameters=rescnn.count_trainable(model),
            records_manifest_sha256=facts["records"],
            seconds=round(time.perf_counter() - start, 3),
            **_outcome(model, early_stop),
        )
        if made.chief:
            _write_val_predictions(run_dir, validation)
            rundir.save(told, run_dir)
            checkpoints.finish()
    return told


def _train(
    settings: recipe.Recipe,
    model: keras.Model,
    training: dataset.Batches,
    made: strategy.Devices,
    calls: list[keras.callbacks.Callback],
    checkpoints: checkpoint.Checkpoints,
    steps_per_call: int,
) -> None:
    try:
        loop.train(
            model,
            training,
            loss=optimizer.loss(settings.train.loss),
            table=sequence.training_table(settings.data.encoding),
            strategy=made.strategy,
            epochs=settings.train.epochs,
            batch_size=settings.train.batch_size,
            callbacks=calls,
            checkpoints=checkpoints,
            steps_per_call=steps_per_call,
            xla=made.xla,
        )
    except loop.Stopped as stopped:
        checkpoints.save(stopped.progress)
        raise
    except _LOST as error:
        if made.workers == 1:
            raise
        raise errors.UserError(
            "another worker was lost, or no longer answers. Start all workers again with --resume: "
            "the run goes on from its last checkpoint."
        ) from error


# === The parts of a run ===


def _data(
    settings: recipe.Recipe, records_dir: Path, made: strategy.Devices, mode: str
) -> tuple[dataset.Batches, text.Examples]:
    train = settings.train
    if train.batch_size % made.replicas:
        raise errors.UserError(
            f"train.batch_size {train.batch_size} cannot be shared equally by {made.replicas} "
            "devices. Choose a multiple."
        )
    if mode == "auto" and made.workers > 1:
        mode = "memory"  # each for itself, workers might choose differently
    known = targets.load(settings.tricks, records_dir, checks.TRAIN)
    training = dataset.load(
        records_dir,
        checks.TRAIN,
        train.batch_size,
        seed=train.seed,
        mode=mode,
        worker=made.worker,
        workers=made.workers,
        seen=targets.Seen(known.tails, train.fraction, train.seed),
    )
    validation = known.validation(records.read(records_dir, checks.VALIDATION))
    return augment.wrap(training, settings, known), validation


def _new_run(run_dir: Path, settings: recipe.Recipe, records_dir: Path) -> None:
    if run_dir.exists():
        shutil.rmtree(run_dir)
    run_dir.mkdir()
    (run_dir / rundir.RECORDS).write_bytes((records_dir / manifest.FILE).read_bytes())
    (run_dir / rundir.RECIPE).write_text(recipe.dump(settings), encoding="utf-8")


def _model(settings: recipe.Recipe, precision: str) -> keras.Model:
    """Returns the model with its optimiser built; call it within the strategy's scope."""
    model = rescnn.from_recipe(settings, precision)
    expected, found = settings.expect.parameters, rescnn.count_trainable(model)
    if expected is not None and expected != found:
        _log.warning(f"the recipe expects {expected:,} parameters, the model has {found:,}")
    model.optimizer = optimizer.optimizer(settings.train)
    if precision == "mixed_float16":
        model.optimizer = keras.optimizers.LossScaleOptimizer(model.optimizer)
    model.optimizer.build(model.trainable_variables)
    return model


def _callbacks(
    settings: recipe.Recipe,
    model: keras.Model,
    validation: text.Examples,
    run_dir: Path,
    training: dataset.Batches,
    made: strategy.Devices,
    report: progress.Report,
) -> tuple[callbacks.EarlyStop, list[keras.callbacks.Callback]]:
    """The one list that fixes the callbacks' order: scores before all that read them, and the
    schedule before the improvement test, as in the original. All workers decide alike, each for
    itself; one of them writes.
    """
    train = settings.train

    def save(model: keras.Model) -> None:
        keras_file.save(model, run_dir / rundir.BEST, settings)

    early_stop = callbacks.EarlyStop(train.patience, save=save if made.chief else None)
    scores = callbacks.CorrelationScores(
        validation.letters,
        validation.expression,
        loss=optimizer.loss(train.loss),
        # In float32, in which the model is saved and served: so the scores are the served model's.
        predict=predictors.folding(model, settings),
        weight=validation.weight,
    )
    schedule = {
        "none": [],
        "plateau": [callbacks.Plateau()],
        "onecycle": [callbacks.OneCycle(train.epochs * training.steps)],
    }[train.schedule]
    if not made.chief:
        return early_stop, [scores, *schedule, early_stop, callbacks.Collapse()]
    return early_stop, [
        scores,
        keras.callbacks.TensorBoard(str(run_dir / rundir.TENSORBOARD), write_graph=False),
        *schedule,
        early_stop,
        logs.HistoryFile(run_dir / rundir.HISTORY),
        logs.ReferenceLog(run_dir / rundir.LOG, early_stop),
        callbacks.Collapse(),
        logs.Estimate(train.epochs),
        logs.Report(report, train.epochs, training.steps, train.batch_size),
    ]


def _outcome(model: keras.Model, early_stop: callbacks.EarlyStop) -> dict[str, int | float | str]:
    """Returns what a training came to, as fields of `rundir.Run`."""
    history, best = model.history.history, early_stop.best_epoch - 1
    return {
        "epochs": len(history["loss"]),
        "best_epoch": early_stop.best_epoch,
        "best_score": early_stop.best,
        "best_pearson": history["val_pearson"][best],
        "best_spearman": history["val_spearman"][best],
        "best_loss": history["val_loss"][best],
        "stop_reason": f"no better epoch for {early_stop.patience} epochs"
        if early_stop.stopped
        else "all epochs done",
        "sequences_per_second": round(float(np.median(history["sequences_per_second"])), 1),
    }


def _write_val_predictions(run_dir: Path, validation: text.Examples) -> None:
    part = rows.from_examples(validation)
    values = inference.load(run_dir).predict_letters(part.letters)
    with predictions.writer(run_dir / rundir.VAL_PREDICTIONS, overwrite=True) as write:
        write(predictions.PredictedRows(part.sequences, values, part.expressions))

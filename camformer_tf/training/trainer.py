"""One run: recipe, records, devices and network put together and trained, its files written."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from camformer_tf import errors, files, progress, rundir, wording
from camformer_tf.data import manifest, predictions, rows, sequence
from camformer_tf.data import text as texts
from camformer_tf.model import inference, keras_file, predictors, rescnn
from camformer_tf.training import (
    callbacks,
    checkpoint,
    checks,
    jobs,
    loop,
    networks,
    optimizers,
    plans,
    reports,
)

_LOST_WORKER = (  # what TensorFlow raises when another worker is gone
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)


def train(job: jobs.Job, report: progress.Report) -> rundir.Run:
    """Trains the job's network on the splits `train` and `val`, and writes the run's files.

    Args:
        job: what to train.
        report: where progress goes.

    Raises:
        errors.UserError: records, devices or recipe that do not fit together, a diverging or
            collapsed training, a lost worker, or another run to be resumed.
        loop.TrainingInterrupt: a signal came; the run is kept.
    """
    start = time.perf_counter()
    job, facts = jobs.check(job)
    run = checks.finished_run(job.run_dir, job.options, facts)
    if run:
        return run
    devices = jobs.make_devices(job)
    with files.lock(job.run_dir) if devices.chief else contextlib.nullcontext():
        setup = jobs.set_up(job, devices, facts)
        if devices.chief and not setup.is_resumed:
            _create_run(job)
        early_stop, calls = _callbacks(setup, report)
        checkpoints = checkpoint.Checkpoints(
            job.run_dir / rundir.CHECKPOINTS,
            setup.model,
            calls,
            setup.facts,
            interval=job.options.checkpoint_steps,
            writes=devices.chief,
        )
        _train(setup, [*calls, *job.callbacks], checkpoints)
        run = _run(setup, early_stop, time.perf_counter() - start)
        if devices.chief:
            _write_val_predictions(job.run_dir, setup.validation)
            rundir.save(run, job.run_dir)
            checkpoints.finish()
    return run


def plan(job: jobs.Job) -> plans.FitPlan:
    """Checks all that `train` checks before the first step, and writes nothing.

    Raises:
        errors.UserError: as of `train`.
    """
    job, facts = jobs.check(job)
    run = checks.finished_run(job.run_dir, job.options, facts)
    if not run and files.is_locked(job.run_dir):
        raise errors.UserError(
            f"{job.run_dir}: another process is training this run. Wait for it, or choose another "
            "name."
        )
    setup = jobs.set_up(job, jobs.make_devices(job), facts)
    return plans.FitPlan(
        run_dir=str(job.run_dir),
        status="finished" if run else "to resume" if setup.is_resumed else "new",
        devices=list(setup.devices.names),
        strategy=setup.devices.kind,
        workers=setup.devices.workers,
        precision=setup.devices.precision,
        precision_reason=setup.devices.reason,
        parameters=rescnn.count_trainable(setup.model),
        training_examples=setup.training.examples,
        validation_examples=len(setup.validation.expression),
        data=setup.training.mode,
        batch_size=job.settings.train.batch_size,
        steps_per_epoch=setup.training.steps,
        epochs=job.settings.train.epochs,
        memory_bytes=plans.memory_bytes(
            setup.model,
            setup.training,
            setup.validation,
            batch_size=job.settings.train.batch_size // setup.devices.replicas,
            length=job.settings.data.length,
        ),
    )


# === The parts of a run ===


def _create_run(job: jobs.Job) -> None:
    """Makes the run's folder anew, with the recipe and the manifest."""
    if job.run_dir.exists():
        shutil.rmtree(job.run_dir)
    job.run_dir.mkdir()
    (job.run_dir / rundir.RECORDS).write_bytes((job.records_dir / manifest.FILE).read_bytes())
    recipe_text = networks.recipe_text(job.settings, job.model)
    (job.run_dir / rundir.RECIPE).write_text(recipe_text, encoding="utf-8")


def _callbacks(
    setup: jobs.Setup, report: progress.Report
) -> tuple[callbacks.EarlyStop, list[keras.callbacks.Callback]]:
    """Returns our callbacks in their order, and the one among them that stops early.

    Scores come before all that read them, and the schedule before the improvement test, as in the
    original. All workers decide alike, each for itself; one of them writes.
    """
    job, training, is_chief = setup.job, setup.training, setup.devices.chief
    settings, train, run_dir = job.settings, job.settings.train, job.run_dir
    early_stop = callbacks.EarlyStop(
        train.patience, save=(lambda model: _save_best(job, model)) if is_chief else None
    )
    scores = callbacks.CorrelationScores(
        setup.validation.letters,
        setup.validation.expression,
        loss=optimizers.loss(train.loss),
        # In float32, in which the recipe's network is saved: the scores are of the saved model.
        predict=predictors.folding(setup.model, settings)
        if job.model is None
        else predictors.plain(setup.model, settings.data.encoding),
        weight=setup.validation.weight,
    )
    schedule: list[keras.callbacks.Callback] = {
        "none": [],
        "plateau": [callbacks.Plateau()],
        "onecycle": [callbacks.OneCycle(train.epochs * training.steps)],
    }[train.schedule]
    if not is_chief:
        return early_stop, [scores, *schedule, early_stop, callbacks.Collapse()]
    return early_stop, [
        scores,
        keras.callbacks.TensorBoard(str(run_dir / rundir.TENSORBOARD), write_graph=False),
        *schedule,
        early_stop,
        reports.HistoryFile(run_dir / rundir.HISTORY),
        reports.ReferenceLog(run_dir / rundir.LOG, early_stop),
        callbacks.Collapse(),
        reports.Estimate(train.epochs),
        reports.ProgressReport(report, train.epochs, training.steps, train.batch_size),
    ]


def _train(
    setup: jobs.Setup,
    calls: list[keras.callbacks.Callback],
    checkpoints: checkpoint.Checkpoints,
) -> None:
    settings, options, devices = setup.job.settings, setup.job.options, setup.devices
    single_steps = checks.requires_single_steps(settings, options)
    try:
        loop.train(
            setup.model,
            setup.training,
            loss=optimizers.loss(settings.train.loss),
            table=sequence.training_table(settings.data.encoding),
            strategy=devices.strategy,
            epochs=settings.train.epochs,
            batch_size=settings.train.batch_size,
            callbacks=calls,
            checkpoints=checkpoints,
            steps_per_call=1 if single_steps else options.steps_per_call or devices.steps_per_call,
            xla=devices.xla,
        )
    except loop.TrainingInterrupt as stop:
        checkpoints.save(stop.progress)
        stop.run_dir = str(setup.job.run_dir)
        raise
    except _LOST_WORKER as error:
        if devices.workers == 1:
            raise
        raise errors.UserError(
            "another worker was lost, or no longer answers. Start all workers again with --resume: "
            "the run continues from its last checkpoint."
        ) from error


def _save_best(job: jobs.Job, model: keras.Model) -> None:
    if job.model is None:
        keras_file.save(model, job.run_dir / rundir.BEST, job.settings)
    else:
        settings = networks.recipe_without_network(job.settings)
        keras_file.save(model, job.run_dir / rundir.BEST, settings, custom=True)


def _run(setup: jobs.Setup, early_stop: callbacks.EarlyStop, seconds: float) -> rundir.Run:
    """Returns the contents of run.json."""
    devices, history = setup.devices, setup.model.history.history
    epochs, best = len(history["loss"]), early_stop.best_epoch - 1
    if early_stop.has_stopped:
        stop_reason = f"no better epoch for {wording.count(early_stop.patience, 'epoch')}"
    elif epochs < setup.job.settings.train.epochs:
        stop_reason = "stopped by a callback"
    else:
        stop_reason = "all epochs done"
    return rundir.Run(
        versions=rundir.library_versions(),
        devices=list(devices.names),
        strategy=devices.kind,
        workers=devices.workers,
        precision=devices.precision,
        data=setup.training.mode,
        parameters=rescnn.count_trainable(setup.model),
        records_manifest_sha256=setup.facts["records"],
        epochs=epochs,
        best_epoch=early_stop.best_epoch,
        best_score=early_stop.best,
        best_pearson=history["val_pearson"][best],
        best_spearman=history["val_spearman"][best],
        best_loss=history["val_loss"][best],
        stop_reason=stop_reason,
        seconds=round(seconds, 3),
        sequences_per_second=round(float(np.median(history["sequences_per_second"])), 1),
    )


def _write_val_predictions(run_dir: Path, validation: texts.Examples) -> None:
    part = rows.from_examples(validation)
    values = inference.load(run_dir).predict_letters(part.letters)  # (N,)
    with predictions.writer(run_dir / rundir.VAL_PREDICTIONS, overwrite=True) as write:
        write(predictions.PredictedRows(part.sequences, values, part.expressions))

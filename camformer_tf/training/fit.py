"""A recipe and records become a run: the function behind `cf.fit` and `camformer-tf fit`."""

from __future__ import annotations

import dataclasses
import decimal
import numbers
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras

from camformer_tf import errors, files, progress, remote, rundir
from camformer_tf import recipe as recipes
from camformer_tf.training import jobs, plans, strategies, trainer
from camformer_tf.training import options as fit_options
from camformer_tf.training import replicates as replicate_runs


def fit(
    recipe: files.PathLike | recipes.Recipe,
    records_dir: files.PathLike | remote.Remote,
    run_dir: files.PathLike,
    *,
    overrides: Sequence[str] = (),
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    weight_decay: float | None = None,
    loss: str | None = None,
    optimizer: str | None = None,
    schedule: str | None = None,
    fraction: float | None = None,
    patience: int | None = None,
    seed: int | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    model: keras.Model | None = None,
    strategy: str = fit_options.FitOptions.strategy,
    devices: int | None = None,
    precision: str = fit_options.FitOptions.precision,
    xla: str = fit_options.FitOptions.xla,
    steps_per_call: int | None = None,
    require_gpu: bool = False,
    data: str = fit_options.FitOptions.data,
    seeds: Sequence[int] | None = None,
    replicates: int | None = None,
    resume: bool = False,
    checkpoint_steps: int | None = None,
    worker_timeout: float = strategies.WORKER_TIMEOUT,
    overwrite: bool = False,
    dry_run: bool = False,
    report: progress.Report | None = None,
) -> rundir.Run | dict[int, rundir.Run] | plans.FitPlan:
    """Trains a network on the splits `train` and `val` of a record set, and writes a run directory.

    The same recipe, records and seed give the same bytes, whatever TensorFlow did before in this
    process. Keras' global settings (policy, seeds, strategy) are neither used nor changed. Two
    settings are the whole process's and stay: without a GPU, `devices` above 1 splits the CPU,
    which is possible only before TensorFlow starts; and training in 16 bits on a CPU makes
    TensorFlow run one operation at once, if it has not started.

    Args:
        recipe: the name of a shipped recipe, a file, or a recipe.Recipe.
        records_dir: the record set, as `build_records` makes it.
        run_dir: the folder to write.
        overrides: changes of the recipe as on the command line, such as "model.padding=same".
        epochs: train.epochs of the recipe, if given; so are the next nine arguments.
        batch_size: train.batch_size, of all devices together.
        learning_rate: train.learning_rate.
        weight_decay: train.weight_decay.
        loss: train.loss: "l1", "mse" or "huber".
        optimizer: train.optimizer: "adamw" or "lion".
        schedule: train.schedule: "none", "plateau" or "onecycle".
        fraction: train.fraction, the part of the training sequences that is used.
        patience: train.patience, the epochs without a better one after which training stops.
        seed: train.seed.
        callbacks: your Keras callbacks. They run after ours in the order given, and find in the
            logs of an epoch loss, pearson, spearman, val_loss, val_pearson, val_spearman,
            val_score (the sum of both), learning_rate and improved. If one sets
            `model.stop_training`, training ends. Their state is not stored for `resume`.
        model: your network in place of the recipe's, which then decides on data and training
            alone: float32 (B, L, C) → (B, 1) or (B,), L the recipe's data.length and C the channels
            of data.encoding. It is trained where it is, on one device, from the weights it has,
            with the recipe's loss and optimizer.
        strategy: "auto", "one", "mirrored", "multiworker" (as TF_CONFIG says) or "slurm".
        devices: how many GPUs; without a GPU, into how many devices to split the CPU.
        precision: "auto", "float32", "mixed_bfloat16" or "mixed_float16"; auto: what the devices
            compute in fastest.
        xla: "auto", "on" or "off": whether XLA compiles the training step.
        steps_per_call: training steps between two looks at callbacks and signals.
        require_gpu: whether to refuse to train on a CPU.
        data: "auto", "memory" or "stream": where training sequences are held.
        seeds: train once with each of these seeds, each in a process of its own and a folder of its
            own, `run_dir`/seed-SEED.
        replicates: the same with that many of the published seeds.
        resume: whether to continue the run if it was stopped; it is started if there is none.
        checkpoint_steps: steps between checkpoints within an epoch; by default as often as takes
            1 % of the time.
        worker_timeout: seconds that several workers wait for each other at the start.
        overwrite: whether an existing run is replaced.
        dry_run: whether to check everything, and write and train nothing.
        report: where progress goes; by default a bar in a notebook or terminal.

    Returns:
        The finished run; with `seeds` or `replicates` seed → run; with `dry_run` the plan.

    Raises:
        errors.UserError: arguments, recipe, records or devices that do not fit together, a
            diverging or collapsed training, a lost worker, or an existing run.
        loop.TrainingInterrupt: Ctrl-C, a notebook's stop button or SIGTERM ended the training after
            the step in hand; the run is kept, and `resume=True` continues it.
        replicates.ReplicateFailure: the process of a replicate ended with an error or by a signal.
    """
    changes = {
        "epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate,
        "weight_decay": weight_decay, "loss": loss, "optimizer": optimizer, "schedule": schedule,
        "fraction": fraction, "patience": patience, "seed": seed,
    }  # fmt: skip
    options = fit_options.FitOptions(
        strategy=strategy,
        devices=devices,
        precision=precision,
        xla=xla,
        steps_per_call=steps_per_call,
        require_gpu=require_gpu,
        data=data,
        resume=resume,
        checkpoint_steps=checkpoint_steps,
        worker_timeout=worker_timeout,
        overwrite=overwrite,
    )
    options.check()
    settings = _load(recipe, [*overrides, *_as_overrides(changes)])
    report = progress.auto(report)
    job = jobs.Job(
        settings, remote.path(records_dir), Path(run_dir), options, model, tuple(callbacks)
    )
    if seeds is not None or replicates is not None:
        return _fit_replicates(job, seeds, replicates, report, dry_run=dry_run)
    return trainer.plan(job) if dry_run else trainer.train(job, report)


def _fit_replicates(
    job: jobs.Job,
    seeds: Sequence[int] | None,
    count: int | None,
    report: progress.Report,
    *,
    dry_run: bool,
) -> dict[int, rundir.Run] | plans.FitPlan:
    """Trains replicates, or returns the plan of the first of them."""
    if job.model is not None or job.callbacks:
        raise errors.UserError(
            "seeds and replicates train in other processes, to which model= and callbacks= cannot "
            "be passed. Call fit once for each seed."
        )
    seeds = replicate_runs.choose(seeds, count)
    if not dry_run:
        return replicate_runs.train(job, seeds, is_quiet=report is progress.silent)
    replicate_runs.check_folder(job)
    train = dataclasses.replace(job.settings.train, seed=seeds[0])
    settings = dataclasses.replace(job.settings, train=train)
    return trainer.plan(dataclasses.replace(job, settings=settings))


def _load(recipe: files.PathLike | recipes.Recipe, overrides: Sequence[str]) -> recipes.Recipe:
    if isinstance(recipe, recipes.Recipe):
        return recipes.parse(recipes.dump(recipe), source="recipe", overrides=overrides)
    return recipes.load(os.fspath(recipe), overrides)


def _as_overrides(changes: Mapping[str, object]) -> list[str]:
    """Returns the changes of the section train as overrides; None changes nothing."""
    return [
        f"train.{name}={_as_yaml(value)}" for name, value in changes.items() if value is not None
    ]


def _as_yaml(value: object) -> str:
    """Returns a value as YAML; a float without exponent, since YAML reads 1e-05 as text."""
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
        return format(decimal.Decimal(repr(float(value))), "f")
    return str(value)

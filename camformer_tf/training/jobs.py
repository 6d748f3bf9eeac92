"""What a run trains, and what that becomes on this machine: devices, batches and network."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from pathlib import Path
from typing import Literal, cast

import keras

from camformer_tf import errors, recipe, remote, wording
from camformer_tf.batches import augment, dataset, targets
from camformer_tf.data import manifest, records
from camformer_tf.data import text as texts
from camformer_tf.model import rescnn
from camformer_tf.training import checks, networks, strategies
from camformer_tf.training import options as fit_options

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be trained, on what, and where the run is written.

    Attributes:
        settings: the recipe.
        records_dir: the record set, with the splits `train` and `val`.
        run_dir: the folder of the run.
        options: how the run is carried out.
        model: a user's own network in place of the recipe's.
        callbacks: a user's own, which run after ours.
    """

    settings: recipe.Recipe
    records_dir: remote.AnyPath
    run_dir: Path
    options: fit_options.FitOptions = dataclasses.field(default_factory=fit_options.FitOptions)
    model: keras.Model | None = None
    callbacks: tuple[keras.callbacks.Callback, ...] = ()


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a job becomes on this machine.

    Attributes:
        job: what is trained.
        devices: which train it.
        facts: what a resumed run must have in common with this one: name → text.
        training: the training batches.
        validation: the validation set.
        model: the network, with its optimizer.
        is_resumed: whether there is a checkpoint to continue from.
    """

    job: Job
    devices: strategies.Devices
    facts: dict[str, str]
    training: dataset.Batches
    validation: texts.Examples
    model: keras.Model
    is_resumed: bool


def check(job: Job) -> tuple[Job, dict[str, str]]:
    """Returns the job with the options of its network, and the facts that a resumed run shares.

    Raises:
        errors.UserError: recipe, records, callbacks or network that do not fit together.
    """
    checks.requires_single_steps(job.settings, job.options)
    checks.check_records(job.settings, job.records_dir)
    for call in job.callbacks:
        if not isinstance(call, keras.callbacks.Callback):
            raise errors.UserError(f"callbacks: expected keras.callbacks.Callback, found {call!r}.")
    if job.model is not None:
        networks.check_own(job.model, job.settings)
        options = networks.options_for(job.model, job.options)
        job = dataclasses.replace(job, options=options)
    digest = hashlib.sha256((job.records_dir / manifest.FILE).read_bytes()).hexdigest()
    return job, {
        "recipe": networks.recipe_text(job.settings, job.model),
        "records": digest,
    }


def make_devices(job: Job) -> strategies.Devices:
    """Returns the devices that a job asks for."""
    options = job.options
    devices = strategies.make(
        options.strategy,
        options.devices,
        options.precision,
        xla=options.xla,
        require_gpu=options.require_gpu,
        timeout=options.worker_timeout,
    )
    if job.model is not None:
        devices = dataclasses.replace(devices, reason="the policy of the own network")
    _log.info(devices.banner())
    return devices


def set_up(job: Job, devices: strategies.Devices, facts: dict[str, str]) -> Setup:
    """Returns batches and network of a job, and whether it is resumed.

    Raises:
        errors.UserError: a batch that the devices cannot share, or another run to be resumed.
    """
    facts = facts | {"precision": devices.precision}
    original = checks.stored_facts(job.run_dir, job.options, facts)
    mode = original.get("data", job.options.data)
    training, validation = _data(job.settings, job.records_dir, devices, mode)
    if job.model is not None:
        model = networks.with_optimizer(job.model, job.settings, devices.precision)
    else:
        with devices.strategy.scope():
            model = networks.from_recipe(job.settings, devices.precision)
    _log.info(
        f"{rescnn.count_trainable(model):,} parameters; {training.examples:,} training and "
        f"{len(validation.expression):,} validation sequences; "
        f"{wording.count(training.steps, 'step')} an epoch from {training.mode}"
    )
    facts["data"] = training.mode
    return Setup(job, devices, facts, training, validation, model, bool(original))


def _data(
    settings: recipe.Recipe,
    records_dir: remote.AnyPath,
    devices: strategies.Devices,
    mode: str,
) -> tuple[dataset.Batches, texts.Examples]:
    """Returns the training batches and the validation set."""
    train = settings.train
    if train.batch_size % devices.replicas:
        raise errors.UserError(
            f"train.batch_size {train.batch_size} cannot be shared equally by {devices.replicas} "
            "devices. Choose a multiple."
        )
    if mode == "auto" and devices.workers > 1:
        mode = "memory"  # otherwise each worker would choose for itself
    expressions = targets.load(settings.tricks, records_dir, checks.TRAIN)
    training = dataset.batches(
        records_dir,
        checks.TRAIN,
        batch_size=train.batch_size,
        seed=train.seed,
        mode=cast(Literal["auto", "memory", "stream"], mode),  # one of them by FitOptions.check
        worker=devices.worker,
        workers=devices.workers,
        sampling=targets.Sampling(expressions.tails, train.fraction, train.seed),
    )
    validation = expressions.validation(records.read(records_dir, checks.VALIDATION))
    return augment.wrap(training, settings, expressions), validation

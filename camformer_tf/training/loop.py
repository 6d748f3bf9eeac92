"""One training loop for every strategy, driving Keras callbacks.

Keras' own `fit` does not run under MultiWorkerMirroredStrategy (keras #20585, #20329), and gives no
access to the predictions of the epoch, from which the training correlations are computed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import signal
import time
import types
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from camformer_tf import errors, wording
from camformer_tf.batches import dataset
from camformer_tf.metrics import correlation
from camformer_tf.training import optimizers, steps


@dataclasses.dataclass
class EpochProgress:
    """How far a training has come: `step` steps of epoch `epoch` (both from 0) are done.

    Attributes:
        epoch: the current one.
        step: the number of its steps that are done.
        total: the sum of their losses.
        expression: of their examples, in arrays (n,).
        prediction: of their examples, in arrays (n,).
        complete: whether a callback stopped the training before this epoch.
    """

    epoch: int = 0
    step: int = 0
    total: float = 0.0
    expression: list[np.ndarray] = dataclasses.field(default_factory=list)
    prediction: list[np.ndarray] = dataclasses.field(default_factory=list)
    complete: bool = False


class CheckpointStore(Protocol):
    """Where the state of a training is stored and found again."""

    def restore(self) -> EpochProgress:
        """Sets model and callbacks to the stored state, and returns how far it had come."""

    def after_step(self, progress: EpochProgress) -> None:
        """Is called after each call of steps, and after each epoch with the next epoch."""


class TrainingInterrupt(Exception):
    """A signal (SIGTERM, Ctrl-C, a notebook's stop button) ended a training; it can be resumed.

    Attributes:
        number: of the signal.
        progress: how far the training had come.
        run_dir: the run to resume, if there is one.
    """

    def __init__(self, number: int, progress: EpochProgress, run_dir: str = "") -> None:
        super().__init__(number)
        self.number, self.progress, self.run_dir = number, progress, run_dir

    def __str__(self) -> str:
        place = f"epoch {self.progress.epoch + 1} after {wording.count(self.progress.step, 'step')}"
        name = f"{self.run_dir}: " if self.run_dir else ""
        return (
            f"{name}stopped in {place}; the run is kept. Continue it with --resume (resume=True)."
        )


def train(
    model: keras.Model,
    batches: dataset.Batches,
    *,
    loss: optimizers.Loss,
    table: np.ndarray,
    strategy: tf.distribute.Strategy,
    epochs: int,
    batch_size: int,
    callbacks: Sequence[keras.callbacks.Callback],
    checkpoints: CheckpointStore | None = None,
    steps_per_call: int = 1,
    xla: bool = False,
) -> None:
    """Trains a model whose `optimizer` is set, until the last epoch or until a callback stops it.

    At the end of an epoch the callbacks get `loss` (mean over the batches), `pearson` and
    `spearman` (of the predictions made while training, as the original prints them),
    `learning_rate` (of the last step) and `sequences_per_second`. Scores are of the examples of all
    replicas and workers.

    Args:
        model: letters as channels, float32 (B, L, C) → (B, 1) or (B,).
        batches: where they have weights, an example's loss is multiplied by its weight before the
            mean.
        loss: y (B,), prediction (B,) → loss (B,).
        table: the encoding, float32 (256, C); letters become channels within the step.
        strategy: the devices.
        epochs: the last one's number, from 1.
        batch_size: of all replicas together.
        callbacks: in their order; each sees what those before it added to the logs.
        checkpoints: where the training begins, and what stores how far it has come.
        steps_per_call: how many steps TensorFlow makes between two looks at callbacks, checkpoints
            and signals. The numbers are the same.
        xla: whether XLA compiles a step; on one device only.

    Raises:
        errors.UserError: the loss is not finite.
        TrainingInterrupt: SIGTERM or SIGINT came, here or, in a multi-worker run, to any worker.
    """
    calls = keras.callbacks.CallbackList(
        [*callbacks], add_history=True, model=model, epochs=epochs, steps=batches.steps, verbose=0
    )
    model.stop_training = False
    calls.on_train_begin()  # resets the callbacks, so their state is restored after it
    progress = checkpoints.restore() if checkpoints else EpochProgress()
    _check_same_start(strategy, progress)
    steps.spread_seeds(model, strategy)
    runner = steps.StepRunner(model, loss, table, strategy, batch_size, xla=xla)
    context = _Context(model, batches, runner, steps_per_call, strategy, calls, checkpoints)
    logs: dict[str, float] = {}
    with _signals() as signals:
        while progress.epoch < epochs and not progress.complete:
            logs = _epoch(context, progress, signals)
            calls.on_epoch_end(progress.epoch, logs)
            progress = EpochProgress(progress.epoch + 1, complete=bool(model.stop_training))
            if checkpoints:
                checkpoints.after_step(progress)
    calls.on_train_end(logs)


@dataclasses.dataclass(frozen=True)
class _Context:
    """What stays the same from epoch to epoch."""

    model: keras.Model
    batches: dataset.Batches
    runner: steps.StepRunner
    steps_per_call: int
    strategy: tf.distribute.Strategy
    calls: keras.callbacks.CallbackList
    checkpoints: CheckpointStore | None


def _epoch(context: _Context, progress: EpochProgress, signals: list[int]) -> dict[str, float]:
    """Trains to the end of the epoch of `progress`, and returns its logs."""
    batches, calls = context.batches, context.calls
    iterator = iter(steps.distribute(batches, progress.epoch, progress.step, context.strategy))
    calls.on_epoch_begin(progress.epoch)
    begin, first = time.perf_counter(), progress.step
    while progress.step < batches.steps and not context.model.stop_training:
        calls.on_train_batch_begin(progress.step)
        count = min(context.steps_per_call, batches.steps - progress.step)
        sums, pairs = context.runner.run(iterator, bool(signals), count)
        losses, stops = sums.T.tolist()
        for value in losses:
            progress.total += _finite(value, progress)
            progress.step += 1
        expression, prediction = pairs.T  # each (count * B,)
        progress.expression.append(expression)
        progress.prediction.append(prediction)
        calls.on_train_batch_end(progress.step - 1, {"loss": progress.total / progress.step})
        if context.checkpoints:
            context.checkpoints.after_step(progress)
        if any(stops):
            raise TrainingInterrupt(signals[0] if signals else signal.SIGTERM, progress)
    seconds = max(time.perf_counter() - begin, 1e-9)
    expression = np.concatenate(progress.expression)  # (steps * B,)
    prediction = np.concatenate(progress.prediction)
    return {
        "loss": progress.total / progress.step,
        "pearson": correlation.pearson(expression, prediction),
        "spearman": correlation.spearman(expression, prediction),
        "learning_rate": float(keras.ops.convert_to_numpy(context.model.optimizer.learning_rate)),
        "sequences_per_second": len(expression) * (1 - first / progress.step) / seconds,
    }


def _check_same_start(strategy: tf.distribute.Strategy, progress: EpochProgress) -> None:
    """Raises UserError unless all workers read the same checkpoint."""
    place = tf.constant([[progress.epoch, progress.step]])  # (1, 2)

    @tf.function
    def gather() -> tf.Tensor:
        return strategy.run(lambda: tf.distribute.get_replica_context().all_gather(place, axis=0))

    places = strategy.experimental_local_results(gather())[0].numpy()  # (replicas, 2)
    if (places != places[0]).any():
        raise errors.UserError(
            "the workers read different checkpoints: the run directory must be one folder that all "
            "of them see, on a shared file system."
        )


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Yields a list to which the number of a signal to end is added when it comes.

    A second signal does what it does without us. Outside the main thread, where Python gets no
    signals, the list stays empty.
    """
    numbers: list[int] = []
    handlers: dict[int, Any] = {}

    def receive(number: int, frame: types.FrameType | None) -> None:
        numbers.append(number)
        signal.signal(number, handlers[number] or signal.SIG_DFL)

    with contextlib.suppress(ValueError):
        for number in (signal.SIGTERM, signal.SIGINT):
            handlers[number] = signal.signal(number, receive)
    try:
        yield numbers
    finally:
        for code, handler in handlers.items():
            signal.signal(code, handler or signal.SIG_DFL)  # None: one of native code


def _finite(value: float, progress: EpochProgress) -> float:
    if not math.isfinite(value):
        raise errors.UserError(
            f"the training loss became {value} in epoch {progress.epoch + 1}, step "
            f"{progress.step + 1}. Lower train.learning_rate, or look for extreme expressions "
            "(inspect-records). The run directory keeps the best model so far and the last good "
            "checkpoint."
        )
    return value

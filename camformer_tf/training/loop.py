"""One training loop for every strategy, driving keras callbacks.

Keras' own `fit` does not run under MultiWorkerMirroredStrategy (keras #20585, #20329), and gives no
access to the predictions of the epoch, of which the training correlations are made.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf

from camformer_tf import errors
from camformer_tf.batches import dataset
from camformer_tf.metrics import correlation
from camformer_tf.training import optimizer

_REPLICA_SEED = 1000003  # what replica r adds r times to the seed of a dropout layer


@dataclasses.dataclass
class Progress:
    """How far a training has come: `step` steps of epoch `epoch` (from 0) are done, with the sum of
    their losses, and expression and prediction of their examples. `ended`: there is no more.
    """

    epoch: int = 0
    step: int = 0
    total: float = 0.0
    expression: list[np.ndarray] = dataclasses.field(default_factory=list)
    prediction: list[np.ndarray] = dataclasses.field(default_factory=list)
    ended: bool = False


class Checkpoints(Protocol):
    """Where a training stands is kept, and found again."""

    def restore(self) -> Progress:
        """Sets model and callbacks to where the training stood, and returns how far it had come."""

    def after_step(self, progress: Progress) -> None:
        """Is called after each step, and after each epoch with that of the next."""


class Stopped(Exception):
    """A signal ended the training after the step in hand; `number` is the signal's."""

    def __init__(self, number: int, progress: Progress):
        super().__init__(number)
        self.number, self.progress = number, progress


def train(
    model: keras.Model,
    batches: dataset.Batches,
    *,
    loss: optimizer.Loss,
    table: np.ndarray,
    strategy: tf.distribute.Strategy,
    epochs: int,
    batch_size: int,
    callbacks: Sequence[keras.callbacks.Callback],
    checkpoints: Checkpoints | None = None,
    steps_per_call: int = 1,
    xla: bool = False,
) -> None:
    """Trains a model whose `optimizer` is set, until the last epoch or until a callback stops it.

    At the end of an epoch the callbacks get `loss` (mean of the batches'), `pearson` and `spearman`
    (of the predictions made while training, as the original prints them), `learning_rate` (of the
    last step) and `sequences_per_second`. Scores are of the examples of all replicas and workers.

    Args:
        batches: where they have weights, an example's loss is multiplied by its weight before the
            mean.
        loss: y (B,), prediction (B,) → loss (B,).
        table: the encoding, float32 (256, C); letters become channels within the step.
        batch_size: of all replicas together.
        checkpoints: where the training begins, and what is told how far it has come.
        steps_per_call: how many steps TensorFlow makes between two looks at callbacks, checkpoints
            and signals. The numbers are the same.
        xla: whether XLA compiles a step; on one device only.

    Raises:
        errors.UserError: the loss is not finite.
        Stopped: SIGTERM or SIGINT came, here or, in a multi-worker run, to any worker.
    """
    calls = keras.callbacks.CallbackList([*callbacks], add_history=True, model=model)
    model.stop_training = False
    calls.on_train_begin()  # resets the callbacks, so what is kept of them is restored after it
    progress = checkpoints.restore() if checkpoints else Progress()
    _check_same_start(strategy, progress)
    _spread_seeds(model, strategy)
    run = _Run(
        model,
        batches,
        _steps(model, loss, tf.constant(table), strategy, batch_size, xla=xla),
        steps_per_call,
        strategy,
        calls,
        checkpoints.after_step if checkpoints else lambda progress: None,
    )
    logs = {}
    with _signals() as received:
        while progress.epoch < epochs and not progress.ended:
            logs = _epoch(run, progress, received)
            calls.on_epoch_end(progress.epoch, logs)
            progress = Progress(progress.epoch + 1, ended=bool(model.stop_training))
            run.after_step(progress)
    calls.on_train_end(logs)


@dataclasses.dataclass(frozen=True)
class _Run:
    """What stays the same from epoch to epoch."""

    model: keras.Model
    batches: dataset.Batches
    steps: Callable
    steps_per_call: int
    strategy: tf.distribute.Strategy
    calls: keras.callbacks.CallbackList
    after_step: Callable[[Progress], None]


def _epoch(run: _Run, progress: Progress, received: list[int]) -> dict[str, float]:
    """Trains to the end of the epoch that `progress` stands in, and returns its logs."""
    data = iter(_distributed(run.batches, progress, run.strategy))
    run.calls.on_epoch_begin(progress.epoch)
    begin, first = time.perf_counter(), progress.step
    while progress.step < run.batches.steps and not run.model.stop_training:
        run.calls.on_train_batch_begin(progress.step)
        count = min(run.steps_per_call, run.batches.steps - progress.step)
        sums, pairs = run.steps(data, tf.constant(float(bool(received))), count)
        losses, stops = np.asarray(sums).T.tolist()
        for value in losses:
            progress.total += _finite(value, progress)
            progress.step += 1
        expression, prediction = np.asarray(pairs).T
        progress.expression.append(expression)
        progress.prediction.append(prediction)
        run.calls.on_train_batch_end(progress.step - 1, {"loss": progress.total / progress.step})
        run.after_step(progress)
        if any(stops):
            raise Stopped(received[0] if received else signal.SIGTERM, progress)
    seconds = max(time.perf_counter() - begin, 1e-9)
    expression = np.concatenate(progress.expression)
    prediction = np.concatenate(progress.prediction)
    return {
        "loss": progress.total / progress.step,
        "pearson": correlation.pearson(expression, prediction),
        "spearman": correlation.spearman(expression, prediction),
        "learning_rate": float(keras.ops.convert_to_numpy(run.model.optimizer.learning_rate)),
        "sequences_per_second": len(expression) * (1 - first / progress.step) / seconds,
    }


def _steps(model, loss, table, strategy, batch_size, *, xla):
    """Returns a function: iterator, whether to stop (0 or 1), number of steps → of each step the
    mean loss and how many replicas are to stop, (steps, 2); and of all examples expression and
    prediction, (steps * batch_size, 2).
    """

    def replica_step(batch, stop):
        letters, expression, *weight = batch
        channels = tf.gather(table, tf.cast(letters, tf.int32))
        with tf.GradientTape() as tape:
            prediction = tf.reshape(model(channels, training=True), [-1])
            losses = loss(expression, prediction)
            if weight:
                losses *= weight[0]
            # Divided by the global batch: the replicas' gradients are summed when applied.
            value = tf.reduce_sum(losses) / batch_size
            scaled = model.optimizer.scale_loss(value)
        gradients = tape.gradient(scaled, model.trainable_variables)
        model.optimizer.apply(_agreed(gradients, model.optimizer), model.trainable_variables)
        replicas = tf.distribute.get_replica_context()
        pairs = replicas.all_gather(tf.stack([expression, prediction], axis=1), axis=0)
        return tf.stack([value, stop]), pairs

    if xla:
        replica_step = tf.function(replica_step, jit_compile=True)

    @tf.function
    def step(data, stop):
        parts, pairs = strategy.run(replica_step, args=(next(data), stop))
        pairs = strategy.experimental_local_results(pairs)[0]
        return strategy.reduce("SUM", parts, axis=None), pairs

    @tf.function
    def graph_steps(data, stop, count):
        sums = tf.TensorArray(tf.float32, count, element_shape=[2])
        examples = tf.TensorArray(tf.float32, count, element_shape=[None, 2])
        for i in tf.range(count):
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            total, pairs = step(data, stop)
            sums = sums.write(i, total)
            examples = examples.write(i, pairs)
        return sums.stack(), examples.concat()

    def steps(data, stop, count):
        if _loops_in_graph():
            return graph_steps(data, stop, tf.constant(count))
        sums, pairs = zip(*(step(data, stop) for _ in range(count)), strict=True)
        return np.stack(sums), np.concatenate(pairs)

    return steps


def _loops_in_graph() -> bool:
    """Whether the steps of a call are a loop in TensorFlow's graph, which saves GPUs waiting for
    Python.

    Not on CPUs: there TensorFlow makes a pooling's gradient a oneDNN operation if it has met the
    pooling before. In a loop, where it begins is up to memory addresses, so that 8 of 132 processes
    trained with another rounding (two devices, TensorFlow 2.21).
    """
    return bool(tf.config.list_logical_devices("GPU"))


def _agreed(gradients: list, made: keras.optimizers.Optimizer) -> list:
    """Returns the gradients, all NaN where any replica's overflowed under loss scaling.

    Keras looks at each replica's own before they are summed: one overflow would make the weights of
    all NaN, or let the replicas take different ways and wait for each other for ever.
    """
    if not isinstance(made, keras.optimizers.LossScaleOptimizer):
        return gradients
    bad = tf.add_n(
        [tf.cast(tf.reduce_any(~tf.math.is_finite(part)), tf.float32) for part in gradients]
    )
    bad = tf.distribute.get_replica_context().all_reduce("SUM", bad)
    return [tf.where(bad > 0, tf.constant(np.nan, part.dtype), part) for part in gradients]


def _check_same_start(strategy: tf.distribute.Strategy, progress: Progress) -> None:
    """Raises UserError unless all workers found the same checkpoint."""
    place = tf.constant([[progress.epoch, progress.step]])

    @tf.function
    def gather():
        return strategy.run(lambda: tf.distribute.get_replica_context().all_gather(place, axis=0))

    places = strategy.experimental_local_results(gather())[0].numpy()
    if (places != places[0]).any():
        raise errors.UserError(
            "the workers do not find the same checkpoint: the run directory must be one folder "
            "that all of them see, on a shared file system."
        )


def _spread_seeds(model: keras.Model, strategy: tf.distribute.Strategy) -> None:
    """Gives each replica dropout masks of its own, where all would draw the same: replica r adds
    1000003 r to every seed.
    """
    states = [v for v in model.variables if v.path.endswith("seed_generator_state")]

    @tf.function
    def add():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        step = tf.constant([_REPLICA_SEED, 0], tf.int64) * tf.cast(replica, tf.int64)
        for state in states:
            moved = tf.cast(state.value, tf.int64) + step
            state.value.assign(tf.cast(moved, state.value.dtype))

    if strategy.num_replicas_in_sync > 1:
        strategy.run(add)


def _distributed(
    batches: dataset.Batches, progress: Progress, strategy: tf.distribute.Strategy
) -> tf.distribute.DistributedDataset:
    """Returns the rest of an epoch. Replica r of n takes the r-th n-th of every batch, so that the
    batches are the same for any number of replicas.
    """

    def inputs(context: tf.distribute.InputContext) -> tf.data.Dataset:
        local = context.num_replicas_in_sync // context.num_input_pipelines
        rest = batches.epoch(progress.epoch).skip(progress.step)
        if local == batches.workers == 1:
            return rest

        def shares(*columns):
            return tuple(
                tf.reshape(column, [batches.workers, local, -1, *column.shape[1:]])[batches.worker]
                for column in columns
            )

        return rest.map(shares).unbatch()

    return strategy.distribute_datasets_from_function(inputs)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Yields a list to which the number of a signal to end is added when it comes, in place of what
    it does otherwise; a second one does that. Outside the main thread, where Python gives no
    signals, it stays empty.
    """
    received: list[int] = []
    before = {}

    def receive(number, frame):
        received.append(number)
        signal.signal(number, before[number])

    with contextlib.suppress(ValueError):
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.signal(number, receive)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _finite(value: float, progress: Progress) -> float:
    if not math.isfinite(value):
        raise errors.UserError(
            f"the training loss became {value} in epoch {progress.epoch + 1}, step "
            f"{progress.step + 1}. Lower train.learning_rate, or look for extreme expressions "
            "(inspect-records). The best model up to then, and the last good checkpoint, are kept "
            "in the run directory."
        )
    return value

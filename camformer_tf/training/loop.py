"""One training loop for every strategy, driving keras callbacks.

Keras' own `fit` does not run under MultiWorkerMirroredStrategy (keras #20585, #20329), and gives no
access to the predictions of the epoch, of which the training correlations are made.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from camformer_tf import errors
from camformer_tf.metrics import correlation
from camformer_tf.training import optimizer

Batches = Callable[[int], tf.data.Dataset]  # epoch (from 0) → batches as of `dataset.Batches`


def train(
    model: keras.Model,
    batches: Batches,
    *,
    loss: optimizer.Loss,
    table: np.ndarray,
    strategy: tf.distribute.Strategy,
    epochs: int,
    steps: int,
    batch_size: int,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Trains a model whose `optimizer` is set, until the last epoch or until a callback stops it.

    At the end of an epoch the callbacks get `loss` (mean of the batches'), `pearson` and `spearman`
    (of the predictions made while training, as the original prints them), `learning_rate` (of the
    last step) and `sequences_per_second`.

    Args:
        batches: the dataset of an epoch; every batch is a whole global one of `batch_size`. Where
            it has weights, an example's loss is multiplied by its weight before the mean.
        table: the encoding, float32 (256, C); letters become channels within the step.
        steps: batches an epoch.

    Raises:
        errors.UserError: the loss is not finite.
    """
    calls = keras.callbacks.CallbackList([*callbacks], add_history=True, model=model)
    model.stop_training = False
    step = _step(model, loss, tf.constant(table), strategy, batch_size)
    _spread_seeds(model, strategy)
    calls.on_train_begin()
    for epoch in range(epochs):
        data = iter(strategy.experimental_distribute_dataset(_unsharded(batches(epoch))))
        calls.on_epoch_begin(epoch)
        total, seen, start = 0.0, [], time.perf_counter()
        for index in range(steps):
            calls.on_train_batch_begin(index)
            value, *pair = step(data)
            total += _finite(float(value), epoch, index)
            seen.append([strategy.experimental_local_results(part) for part in pair])
            calls.on_train_batch_end(index, {"loss": total / (index + 1)})
            if model.stop_training:
                break
        seconds = time.perf_counter() - start
        expression, prediction = (_joined(column) for column in zip(*seen, strict=True))
        logs = {
            "loss": total / (index + 1),
            "pearson": correlation.pearson(expression, prediction),
            "spearman": correlation.spearman(expression, prediction),
            "learning_rate": float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)),
            "sequences_per_second": len(expression) / seconds,
        }
        calls.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    calls.on_train_end(logs)


def _step(model, loss, table, strategy, batch_size):
    """Returns a graph function: iterator → (mean loss, expression, prediction) of a batch."""

    def replica_step(batch):
        letters, expression, *weight = batch
        channels = tf.gather(table, tf.cast(letters, tf.int32))
        with tf.GradientTape() as tape:
            prediction = tf.reshape(model(channels, training=True), [-1])
            losses = loss(expression, prediction)
            if weight:
                losses *= weight[0]
            # Divided by the global batch: the replicas' gradients are summed when applied.
            value = tf.reduce_sum(losses) / batch_size
        gradients = tape.gradient(value, model.trainable_variables)
        model.optimizer.apply(gradients, model.trainable_variables)
        return value, expression, prediction

    @tf.function
    def step(data):
        value, expression, prediction = strategy.run(replica_step, args=(next(data),))
        return strategy.reduce("SUM", value, axis=None), expression, prediction

    return step


def _spread_seeds(model: keras.Model, strategy: tf.distribute.Strategy) -> None:
    """Gives each replica dropout masks of its own, where all would draw the same: replica r adds
    1000003 r to every seed."""
    states = [v for v in model.variables if v.path.endswith("seed_generator_state")]

    @tf.function
    def add():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        step = tf.constant([1000003, 0], tf.int64) * tf.cast(replica, tf.int64)
        for state in states:
            moved = tf.cast(state.value, tf.int64) + step
            state.value.assign(tf.cast(moved, state.value.dtype))

    if strategy.num_replicas_in_sync > 1:
        strategy.run(add)


def _unsharded(data: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return data.with_options(options)


def _joined(column: Sequence[Sequence[tf.Tensor]]) -> np.ndarray:
    """Returns the values of all steps and replicas: float32 (steps * batch,)."""
    return np.concatenate([part.numpy() for parts in column for part in parts])


def _finite(value: float, epoch: int, index: int) -> float:
    if not math.isfinite(value):
        raise errors.UserError(
            f"the training loss became {value} in epoch {epoch + 1}, step {index + 1}. "
            "Lower train.learning_rate, or look for extreme expressions (inspect-records). "
            "The best model up to then is kept in the run directory."
        )
    return value

"""One training step over the replicas of a strategy, and several in one call of TensorFlow."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from camformer_tf.batches import dataset
from camformer_tf.training import optimizers

_REPLICA_SEED = 1000003  # what replica r adds r times to the seed of a dropout layer


class StepRunner:
    """Makes training steps: letters → channels → predictions → losses → gradients → update.

    Args:
        model: float32 (B, L, C) → (B, 1) or (B,), with its `optimizer` set.
        loss: y (B,), prediction (B,) → loss (B,).
        table: the encoding, float32 (256, C).
        strategy: whose replicas share each batch.
        batch_size: of all replicas together.
        xla: whether XLA compiles a step; on one device only.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: optimizers.Loss,
        table: np.ndarray,
        strategy: tf.distribute.Strategy,
        batch_size: int,
        *,
        xla: bool = False,
    ) -> None:
        self._model, self._loss, self._table = model, loss, tf.constant(table)
        self._strategy, self._batch_size = strategy, batch_size
        replica_step = self._step_of_replica
        self._replica_step = tf.function(replica_step, jit_compile=True) if xla else replica_step
        self._step = tf.function(self._step_of_all)
        self._graph_steps = tf.function(self._steps_in_graph)

    def run(
        self, batches: tf.distribute.DistributedIterator, stop: bool, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Makes `count` steps.

        Args:
            batches: letters uint8 (B, L), expression float32 (B,) and, if there is one, weight.
            stop: whether this process got a signal to stop.
            count: how many steps.

        Returns:
            Of each step the mean loss and how many replicas are to stop, (steps, 2); and expression
            and prediction of all examples, (steps * batch_size, 2).
        """
        flag = tf.constant(float(stop))
        if loops_in_graph():
            sums, pairs = self._graph_steps(batches, flag, tf.constant(count))
            return np.asarray(sums), np.asarray(pairs)
        parts = [self._step(batches, flag) for _ in range(count)]
        return np.stack([sums for sums, _ in parts]), np.concatenate([pairs for _, pairs in parts])

    def _step_of_replica(
        self, batch: tuple[tf.Tensor, ...], stop: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        model = self._model
        letters, expression, *weight = batch  # (B/n, L), (B/n,), [(B/n,)]
        channels = tf.gather(self._table, tf.cast(letters, tf.int32))  # (B/n, L, C)
        with tf.GradientTape() as tape:
            prediction = tf.reshape(model(channels, training=True), [-1])  # (B/n,)
            prediction = tf.cast(prediction, tf.float32)  # of a user's model in 16 bits
            losses = self._loss(expression, prediction)  # (B/n,)
            if weight:
                losses *= weight[0]
            # Divided by the global batch: the replicas' gradients are summed when applied.
            value = tf.reduce_sum(losses) / self._batch_size
            scaled_value = model.optimizer.scale_loss(value)
        gradients = tape.gradient(scaled_value, model.trainable_variables)
        gradients = _overflow_everywhere(gradients, model.optimizer)
        model.optimizer.apply(gradients, model.trainable_variables)
        replicas = tf.distribute.get_replica_context()
        pairs = replicas.all_gather(tf.stack([expression, prediction], axis=1), axis=0)  # (B, 2)
        return tf.stack([value, stop]), pairs

    def _step_of_all(
        self, batches: tf.distribute.DistributedIterator, stop: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        parts, pairs = self._strategy.run(self._replica_step, args=(next(batches), stop))
        pairs = self._strategy.experimental_local_results(pairs)[0]  # the same on each replica
        return self._strategy.reduce("SUM", parts, axis=None), pairs  # (2,), (B, 2)

    def _steps_in_graph(
        self, batches: tf.distribute.DistributedIterator, stop: tf.Tensor, count: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        sums = tf.TensorArray(tf.float32, count, element_shape=[2])
        examples = tf.TensorArray(tf.float32, count, element_shape=[None, 2])
        for i in tf.range(count):
            tf.autograph.experimental.set_loop_options(parallel_iterations=1)
            total, pairs = self._step(batches, stop)
            sums = sums.write(i, total)
            examples = examples.write(i, pairs)
        return sums.stack(), examples.concat()  # (count, 2), (count * B, 2)


def loops_in_graph() -> bool:
    """Returns whether the steps of a call are a loop in TensorFlow's graph.

    That saves GPUs waiting for Python. Not on CPUs: there TensorFlow makes a pooling's gradient a
    oneDNN operation if it has met the pooling before. In a loop, where it begins depends on memory
    addresses, so that 8 of 132 processes trained with another rounding (two devices, TensorFlow
    2.21).
    """
    return bool(tf.config.list_logical_devices("GPU"))


def _overflow_everywhere(
    gradients: list[tf.Tensor], optimizer: keras.optimizers.Optimizer
) -> list[tf.Tensor]:
    """Returns the gradients, all NaN where any replica's overflowed under loss scaling.

    Keras looks at each replica's own gradients before they are summed: one overflow would make the
    weights of all NaN, or let the replicas take different branches and wait for each other forever.
    """
    if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return gradients
    overflows = tf.add_n(
        [tf.cast(tf.reduce_any(~tf.math.is_finite(part)), tf.float32) for part in gradients]
    )
    overflows = tf.distribute.get_replica_context().all_reduce("SUM", overflows)
    return [tf.where(overflows > 0, tf.constant(np.nan, part.dtype), part) for part in gradients]


def spread_seeds(model: keras.Model, strategy: tf.distribute.Strategy) -> None:
    """Gives each replica its own dropout masks: replica r adds 1000003 r to every seed."""
    states = [v for v in model.variables if v.path.endswith("seed_generator_state")]

    @tf.function
    def add() -> None:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        step = tf.constant([_REPLICA_SEED, 0], tf.int64) * tf.cast(replica, tf.int64)
        for state in states:
            total = tf.cast(state.value, tf.int64) + step
            state.value.assign(tf.cast(total, state.value.dtype))

    if strategy.num_replicas_in_sync > 1:
        strategy.run(add)


def distribute(
    batches: dataset.Batches, epoch: int, start: int, strategy: tf.distribute.Strategy
) -> tf.distribute.DistributedDataset:
    """Returns the batches of an epoch from batch `start` on, shared by the replicas.

    Replica r of n gets the r-th n-th of every batch, so that the batches are the same for any
    number of replicas.
    """

    def inputs(context: tf.distribute.InputContext) -> tf.data.Dataset:
        local = context.num_replicas_in_sync // context.num_input_pipelines
        remainder = batches.epoch(epoch).skip(start)
        if local == batches.workers == 1:
            return remainder

        def shares(*columns: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return tuple(  # (B, …) → (workers, local, B/n, …) → this worker's (local, B/n, …)
                tf.reshape(column, [batches.workers, local, -1, *column.shape[1:]])[batches.worker]
                for column in columns
            )

        return remainder.map(shares).unbatch()

    return strategy.distribute_datasets_from_function(inputs)

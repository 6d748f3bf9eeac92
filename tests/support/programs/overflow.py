"""Trains in float16 on two replicas, one of which overflows: prints which steps were made."""

import keras
import numpy as np
import tensorflow as tf

from camformer_tf.batches import dataset
from camformer_tf.training import loop, strategies

devices = strategies.make("mirrored", 2, "mixed_float16")
with devices.strategy.scope():
    model = keras.Sequential([keras.Input((3, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
    model.optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
    model.optimizer.build(model.trainable_variables)
start = model.get_weights()
# The second replica's half of the first batch overflows: 3e38 * 3e38.
y = np.array([1, 1, 3e38, 3e38, 1, 1, 1, 1], np.float32)
x = np.tile(np.frombuffer(b"AAA", np.uint8), (8, 1))
examples = tf.data.Dataset.from_tensor_slices((x, y)).batch(4, drop_remainder=True)
batches = dataset.Batches("memory", 8, 2, lambda epoch: examples)
steps = []


class Watch(keras.callbacks.Callback):
    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        weight, initial = model.get_weights()[0], start[0]
        steps.append(bool(np.isfinite(weight).all() and not np.array_equal(weight, initial)))


def loss(y: tf.Tensor, p: tf.Tensor) -> tf.Tensor:
    return tf.where(y > 1e30, p * y * 1e30, tf.square(y - p))


loop._finite = lambda value, progress: value if np.isfinite(value) else 0.0
loop.train(
    model,
    batches,
    loss=loss,
    table=np.ones((256, 1), np.float32),
    strategy=devices.strategy,
    epochs=1,
    batch_size=4,
    callbacks=[Watch()],
)
scale = float(model.optimizer.dynamic_scale.numpy())
print(steps, scale, np.isfinite(model.get_weights()[0]).all())

"""Prints the share of equal dropout masks of two replicas: before and after their seeds differ."""

import keras
import tensorflow as tf

from camformer_tf.training import steps, strategies

devices = strategies.make("mirrored", 2)
with devices.strategy.scope():
    model = keras.Sequential([keras.Input((1000,)), keras.layers.Dropout(0.5, seed=3)])


@tf.function
def masks() -> tf.Tensor:
    inputs = tf.ones((1, 1000))
    return devices.strategy.run(lambda: model(inputs, training=True))


def equal_share() -> float:
    a, b = devices.strategy.experimental_local_results(masks())
    return float(tf.reduce_mean(tf.cast(a == b, tf.float32)))


print(equal_share())
steps.spread_seeds(model, devices.strategy)
print(equal_share(), equal_share())

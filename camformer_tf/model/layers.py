"""Keras' layers with the same variables and results, in fewer passes over memory.

docs/performance.md says what each of them saves, and where it was measured.
"""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf

_PACKAGE = "camformer_tf"
_FUSED = ("bfloat16", "float16")  # in float32, several replicas shall come to the weights of one
_LARGE_KERNEL = 1 << 19
_GROUP = 128  # examples, and
_PIECE = 64  # positions of them, that make one such convolution's channels and window


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Conv1D(keras.layers.Conv1D):
    """A convolution before a batch normalisation, or with one folded into it: channels last,
    stride 1; convolution, bias and activation are one operation.

    Its bias gets the gradient 0 (unless the layer is frozen, and needs none). That is the true one
    where a normalisation takes the bias off again; computed, it would be rounding noise, of which
    AdamW makes steps of full size.
    """

    def call(self, inputs):
        outputs = _convolve(
            tf.expand_dims(inputs, 1), tf.expand_dims(self.kernel, 0), self.padding.upper()
        )
        bias = tf.convert_to_tensor(self.bias)
        outputs = tf.nn.bias_add(outputs, _still(bias) if self.trainable else bias)
        return tf.squeeze(self.activation(outputs), 1)


@keras.saving.register_keras_serializable(package=_PACKAGE)
class BatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation of the last axis; in 16 bits on a single replica by TensorFlow's fused
    operation, whose sums differ from Keras' by float32 rounding.

    Its moving variance is the biased one, as Keras has it, on any number of replicas.
    """

    def call(self, inputs, training=None, mask=None):
        several = tf.distribute.get_strategy().num_replicas_in_sync > 1
        fused = training and self.trainable and not several and self.compute_dtype in _FUSED
        if not fused:
            return super().call(inputs, training=training, mask=mask)
        count = tf.cast(tf.size(inputs) / inputs.shape[-1], tf.float32)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=tf.expand_dims(inputs, 1),
            scale=tf.convert_to_tensor(self.gamma),
            offset=tf.convert_to_tensor(self.beta),
            mean=tf.zeros(0),
            variance=tf.zeros(0),
            epsilon=self.epsilon,
            is_training=True,
        )
        biased = variance * ((count - 1) / count)
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, biased)):
            moving.assign(moving * self.momentum + value * (1 - self.momentum))
        return tf.squeeze(outputs, 1)


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Dropout(keras.layers.Dropout):
    """Dropout whose mask is a hash of seed, call and position: made where it is used, in one pass,
    and made again for the gradient instead of kept. The same on every device.
    """

    def call(self, inputs, training=False):
        if not training or not self.rate:
            return inputs
        seed = tf.cast(self.seed_generator.next(), tf.uint32)
        return _drop(inputs, seed, self.rate, relu=False)


@keras.saving.register_keras_serializable(package=_PACKAGE)
class ReLUDropout(keras.layers.Dropout):
    """ReLU and then dropout, in the one pass that dropout takes."""

    def call(self, inputs, training=False):
        if not training or not self.rate:
            return tf.nn.relu(inputs)
        seed = tf.cast(self.seed_generator.next(), tf.uint32)
        return _drop(inputs, seed, self.rate, relu=True)


# === Convolution ===


@tf.custom_gradient
def _still(bias: tf.Tensor):
    return bias, lambda upstream: tf.zeros_like(bias)


def _convolve(inputs: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
    """Returns a convolution (B, 1, L', F) of inputs (B, 1, L, C) with a kernel (1, K, C, F)."""
    on_cpu = not tf.config.list_logical_devices("GPU")
    large = kernel.dtype == tf.bfloat16 and math.prod(kernel.shape) >= _LARGE_KERNEL
    if on_cpu and large and inputs.shape[0]:  # whose groups need a batch of known size
        return _with_convolved_gradient(inputs, kernel, padding)
    return tf.nn.conv2d(inputs, kernel, 1, padding)


def _with_convolved_gradient(inputs: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
    """Returns the convolution, whose kernel's gradient is computed as a convolution too.

    oneDNN computes that gradient in bfloat16 at half the rate of a convolution (measured with
    kernels of 10 x 512 x 512). It is one itself: of the inputs with the outputs' gradient as the
    kernel, where examples are channels, channels are examples, and a kernel's position is a place.
    """
    width = kernel.shape[1]
    before = (width - 1) // 2 if padding == "SAME" else 0
    after = width - 1 - before if padding == "SAME" else 0

    @tf.custom_gradient
    def convolve(inputs, kernel):
        def gradient(upstream):
            of_inputs = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(inputs),
                filter=kernel,
                out_backprop=upstream,
                strides=[1, 1, 1, 1],
                padding=padding,
            )
            padded = tf.pad(inputs[:, 0], [[0, 0], [before, after], [0, 0]])
            parts = [
                _kernel_gradient(padded[i : i + _GROUP], upstream[i : i + _GROUP, 0], width)
                for i in range(0, inputs.shape[0], _GROUP)
            ]
            whole = tf.add_n([tf.cast(part, tf.float32) for part in parts])
            return of_inputs, tf.cast(tf.transpose(whole, [1, 2, 0, 3]), kernel.dtype)

        return tf.nn.conv2d(inputs, kernel, 1, padding), gradient

    return convolve(inputs, kernel)


def _kernel_gradient(padded: tf.Tensor, upstream: tf.Tensor, width: int) -> tf.Tensor:
    """Returns the kernel's gradient (C, 1, K, F) from padded inputs (B, L + K - 1, C) and the
    outputs' gradient (B, L, F). Sequences are cut in pieces, which count as examples.
    """
    pieces = -(-upstream.shape[1] // _PIECE)
    size = -(-upstream.shape[1] // pieces)
    rest = pieces * size - upstream.shape[1]
    padded, upstream = (tf.pad(x, [[0, 0], [0, rest], [0, 0]]) for x in (padded, upstream))
    turned = tf.transpose(padded, [2, 1, 0])
    starts = range(0, pieces * size, size)
    channels = tf.concat([turned[:, i : i + size + width - 1] for i in starts], 2)
    kernel = tf.transpose(upstream, [1, 0, 2])
    kernel = tf.concat([kernel[i : i + size] for i in starts], 1)
    return tf.nn.conv2d(channels[:, None], kernel[None], 1, "VALID")


# === Dropout ===


def _drop(inputs: tf.Tensor, seed: tf.Tensor, rate: float, *, relu: bool) -> tf.Tensor:
    """Returns inputs of which a part `rate` is 0, and the others are larger to make up for it; with
    `relu`, those below 0 are 0 too.

    Args:
        seed: uint32 (2,).
    """
    threshold, scale = np.uint32(round(rate * 2**32)), 1 / (1 - rate)
    drawn = seed, tf.constant(threshold), tf.constant(scale, inputs.dtype)

    @tf.custom_gradient
    def drop(inputs):
        gate = inputs if relu else None
        return _masked(inputs, gate, *drawn), lambda upstream: _masked(upstream, gate, *drawn)

    return drop(inputs)


@tf.function(jit_compile=True, autograph=False)  # one pass; without it the same values, in many
def _masked(values, gate, seed, threshold, scale):
    place = tf.cast(tf.reshape(tf.range(tf.size(values)), tf.shape(values)), tf.uint32)
    key = _hash(tf.bitwise.bitwise_xor(_hash(seed[1] * 0x9E3779B9), seed[0]))
    drawn = _hash(place + key)
    dropped = drawn < threshold
    if gate is not None:
        dropped |= gate <= 0
    return tf.where(dropped, tf.zeros([], values.dtype), values * scale)


def _hash(x: tf.Tensor) -> tf.Tensor:
    """Returns 32 bits, each of which depends on each of x.

    Source of shifts and factors: "lowbias32" of https://nullprogram.com/blog/2018/07/31/.
    """
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
        x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(shift, x.dtype)))
        x *= factor
    return x

"""Keras' layers with the same variables and results, in fewer passes over memory.

docs/performance.md says what each of them saves, and where it was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

_PACKAGE = "camformer_tf"
_FUSED_TYPES = ("bfloat16", "float16")  # in float32, replicas have to reach the weights of one
_LARGE_KERNEL = 1 << 19
_GROUP = 128  # examples, and
_PIECE = 64  # positions of them, that become one such convolution's channels and window

Gradient = Callable[[tf.Tensor], tf.Tensor | tuple[tf.Tensor, ...]]  # of the output → of the input


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Conv1D(keras.layers.Conv1D):
    """A convolution before a batch normalisation, or with one folded into it.

    Channels last, stride 1; convolution, bias and activation are one operation. Its bias gets the
    gradient 0 (unless the layer is frozen, and needs none). That is the true one where a
    normalisation takes the bias off again; computed, it would be rounding noise, of which AdamW
    makes steps of full size.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the convolution of inputs (B, L, C): (B, L', F)."""
        outputs = _convolve(
            tf.expand_dims(inputs, 1), tf.expand_dims(self.kernel, 0), self.padding.upper()
        )  # (B, 1, L', F)
        bias = tf.convert_to_tensor(self.bias)
        outputs = tf.nn.bias_add(outputs, _without_gradient(bias) if self.trainable else bias)
        return tf.squeeze(self.activation(outputs), 1)


@keras.saving.register_keras_serializable(package=_PACKAGE)
class BatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation of the last axis.

    In 16 bits on a single replica it is TensorFlow's fused operation, whose sums differ from Keras'
    by float32 rounding. Its moving variance is the biased one, as Keras has it, on any number of
    replicas.
    """

    def call(
        self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns inputs (B, L, C), normalised; in training, moving statistics are updated."""
        has_replicas = tf.distribute.get_strategy().num_replicas_in_sync > 1
        is_16_bit = self.compute_dtype in _FUSED_TYPES
        if not (training and self.trainable and not has_replicas and is_16_bit):
            return super().call(inputs, training=training, mask=mask)
        count = tf.cast(tf.size(inputs) / inputs.shape[-1], tf.float32)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=tf.expand_dims(inputs, 1),  # (B, 1, L, C)
            scale=tf.convert_to_tensor(self.gamma),
            offset=tf.convert_to_tensor(self.beta),
            mean=tf.zeros(0),
            variance=tf.zeros(0),
            epsilon=self.epsilon,
            is_training=True,
        )
        biased_variance = variance * ((count - 1) / count)  # the operation's is the unbiased one
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, biased_variance)):
            moving.assign(moving * self.momentum + value * (1 - self.momentum))
        return tf.squeeze(outputs, 1)


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Dropout(keras.layers.Dropout):
    """Dropout whose mask is a hash of seed, call and position.

    It is computed where it is used, in one pass, and again for the gradient instead of kept. It is
    the same on every device.
    """

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns inputs of any shape, in training with a part of them 0."""
        if not training or not self.rate:
            return inputs
        seed = tf.cast(self.seed_generator.next(), tf.uint32)  # (2,)
        return _drop(inputs, seed, self.rate, relu=False)


@keras.saving.register_keras_serializable(package=_PACKAGE)
class ReLUDropout(keras.layers.Dropout):
    """ReLU and then dropout, in the one pass that dropout takes."""

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns inputs of any shape, those below 0 as 0, in training with a part of them 0."""
        if not training or not self.rate:
            return tf.nn.relu(inputs)
        seed = tf.cast(self.seed_generator.next(), tf.uint32)  # (2,)
        return _drop(inputs, seed, self.rate, relu=True)


# === Convolution ===


@tf.custom_gradient
def _without_gradient(bias: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    return bias, lambda upstream: tf.zeros_like(bias)


def _convolve(inputs: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
    """Returns a convolution (B, 1, L', F) of inputs (B, 1, L, C) with a kernel (1, K, C, F)."""
    on_cpu = not tf.config.list_logical_devices("GPU")
    is_large = kernel.dtype == tf.bfloat16 and math.prod(kernel.shape) >= _LARGE_KERNEL
    if on_cpu and is_large and inputs.shape[0]:  # whose groups need a batch of known size
        return _with_convolved_gradient(inputs, kernel, padding)
    return tf.nn.conv2d(inputs, kernel, 1, padding)


def _with_convolved_gradient(inputs: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
    """Returns the convolution, whose kernel's gradient is computed as a convolution too.

    oneDNN computes that gradient in bfloat16 at half the rate of a convolution (measured with
    kernels of 10 x 512 x 512). It is one itself: of the inputs with the outputs' gradient as the
    kernel, where examples are channels, channels are examples, and a kernel's position is a
    position of the output.
    """
    width = kernel.shape[1]
    left = (width - 1) // 2 if padding == "SAME" else 0
    right = width - 1 - left if padding == "SAME" else 0

    @tf.custom_gradient
    def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            inputs_gradient = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(inputs),
                filter=kernel,
                out_backprop=upstream,
                strides=[1, 1, 1, 1],
                padding=padding,
            )
            x = tf.pad(inputs[:, 0], [[0, 0], [left, right], [0, 0]])  # (B, L + K - 1, C)
            parts = [
                _kernel_gradient(x[i : i + _GROUP], upstream[i : i + _GROUP, 0], width)
                for i in range(0, inputs.shape[0], _GROUP)
            ]
            total = tf.add_n([tf.cast(part, tf.float32) for part in parts])  # (C, 1, K, F)
            return inputs_gradient, tf.cast(tf.transpose(total, [1, 2, 0, 3]), kernel.dtype)

        return tf.nn.conv2d(inputs, kernel, 1, padding), gradient

    return convolve(inputs, kernel)


def _kernel_gradient(x: tf.Tensor, upstream: tf.Tensor, width: int) -> tf.Tensor:
    """Returns the kernel's gradient (C, 1, K, F). Sequences are cut in pieces as examples.

    Args:
        x: the inputs with padding, (B, L + K - 1, C).
        upstream: the outputs' gradient, (B, L, F).
        width: K.
    """
    pieces = -(-upstream.shape[1] // _PIECE)
    size = -(-upstream.shape[1] // pieces)
    excess = pieces * size - upstream.shape[1]  # zeros at the end, so that pieces are equal
    x, upstream = (tf.pad(values, [[0, 0], [0, excess], [0, 0]]) for values in (x, upstream))
    by_channel = tf.transpose(x, [2, 1, 0])  # (C, L + K - 1, B)
    starts = range(0, pieces * size, size)
    channels = tf.concat([by_channel[:, i : i + size + width - 1] for i in starts], 2)
    kernel = tf.transpose(upstream, [1, 0, 2])  # (L, B, F)
    kernel = tf.concat([kernel[i : i + size] for i in starts], 1)  # (size, B pieces, F)
    return tf.nn.conv2d(channels[:, None], kernel[None], 1, "VALID")


# === Dropout ===


def _drop(inputs: tf.Tensor, seed: tf.Tensor, rate: float, *, relu: bool) -> tf.Tensor:
    """Returns inputs of which a part is 0, and the others are larger to make up for it.

    Args:
        inputs: of any shape.
        seed: uint32 (2,).
        rate: the part.
        relu: whether inputs below 0 become 0 too.
    """
    threshold, scale = np.uint32(round(rate * 2**32)), 1 / (1 - rate)
    options = seed, tf.constant(threshold), tf.constant(scale, inputs.dtype)

    @tf.custom_gradient
    def drop(inputs: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
        gate = inputs if relu else None
        return _mask(inputs, gate, *options), lambda upstream: _mask(upstream, gate, *options)

    return drop(inputs)


@tf.function(jit_compile=True, autograph=False)  # one pass; without it the same values, in many
def _mask(
    values: tf.Tensor,
    gate: tf.Tensor | None,
    seed: tf.Tensor,
    threshold: tf.Tensor,
    scale: tf.Tensor,
) -> tf.Tensor:
    """Returns values × scale, 0 where the hash is below a threshold or the gate not above 0."""
    position = tf.cast(tf.reshape(tf.range(tf.size(values)), tf.shape(values)), tf.uint32)
    key = _hash(tf.bitwise.bitwise_xor(_hash(seed[1] * 0x9E3779B9), seed[0]))
    is_zero = _hash(position + key) < threshold
    if gate is not None:
        is_zero |= gate <= 0
    return tf.where(is_zero, tf.zeros([], values.dtype), values * scale)


def _hash(x: tf.Tensor) -> tf.Tensor:
    """Returns 32 bits, each of which depends on each bit of x.

    Source of shifts and factors: "lowbias32" of https://nullprogram.com/blog/2018/07/31/.
    """
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
        x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(shift, x.dtype)))
        x *= factor
    return x

"""Losses, optimizers and schedules, by their names in a recipe."""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
import tensorflow as tf

from camformer_tf import recipe

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # y (B,), prediction (B,) → loss (B,)

# Source: base/model_utils.py:43-52, Bornelov-lab/Camformer@feaa529.
_HUBER_DELTA = 0.9

# torch.optim.lr_scheduler.OneCycleLR with max_lr 0.01 and its other defaults: the rate starts at
# max / 25 and ends at max / 25 / 1e4, and beta_1 falls where the rate rises.
# Source: base/model_utils.py:72-82, Bornelov-lab/Camformer@feaa529.
ONE_CYCLE_RATES = (0.01 / 25, 0.01, 0.01 / 25 / 1e4)
ONE_CYCLE_BETAS = (0.95, 0.85, 0.95)
_ONE_CYCLE_RISE = 0.3


def loss(name: str) -> Loss:
    """Returns the loss of each example: "l1", "mse" or "huber" (delta 0.9)."""
    return {"l1": _l1, "mse": _mse, "huber": _huber}[name]


@keras.saving.register_keras_serializable(package="camformer_tf")
class AdamW(keras.optimizers.AdamW):
    """AdamW as PyTorch computes it, in one pass over each variable.

    Keras adds epsilon before the correction of the second moment and not after, so that it weighs
    31 times as much in the first step, and shrinks the steps of small gradients. TensorFlow's fused
    operation does too, and therefore gets corrected values. Source: torch.optim.AdamW.
    """

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Updates one variable and its two moments."""
        index, kind = self._get_variable_index(variable), variable.dtype
        # tf.cast would convert a Python number to float32 first.
        beta_1, beta_2 = (
            tf.cast(beta, kind) if isinstance(beta, keras.Variable) else tf.constant(beta, kind)
            for beta in (self.beta_1, self.beta_2)
        )
        first, root = self._correction(beta_1), tf.sqrt(self._correction(beta_2))  # float64 ()
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            lr=tf.cast(tf.cast(learning_rate, "float64") * root / first, kind),
            beta1_power=tf.zeros([], kind),  # corrected already
            beta2_power=tf.zeros([], kind),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.cast(self.epsilon * root, kind),
            grad=tf.cast(gradient, kind),
        )

    def _correction(self, beta: tf.Tensor) -> tf.Tensor:
        """Returns 1 - beta^step in float64, where beta is the value that the moments use.

        0.999 in float32 is another number, by which the first steps would be 1e-5 off.
        """
        return 1 - tf.cast(beta, "float64") ** tf.cast(self.iterations + 1, "float64")


def build(train: recipe.TrainConfig) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a recipe: AdamW as in PyTorch, or Lion as in lion-pytorch 0.1.2.

    AdamW has betas (0.9, 0.999) and epsilon 1e-8, Lion betas (0.9, 0.99). Both decay every variable
    before the step, biases and normalisation included. Under `onecycle`, beta_1 is a variable that
    the schedule sets.
    """
    rate, decay = train.learning_rate, train.weight_decay
    if train.optimizer == "lion":
        optimizer = keras.optimizers.Lion(rate, weight_decay=decay, beta_1=0.9, beta_2=0.99)
    else:
        optimizer = AdamW(rate, weight_decay=decay, beta_1=0.9, beta_2=0.999, epsilon=1e-8)
    if train.schedule == "onecycle":
        optimizer.beta_1 = keras.Variable(0.9, trainable=False, dtype="float32", name="beta_1")
    return optimizer


def one_cycle(step: int, steps: int, values: tuple[float, float, float]) -> float:
    """Returns PyTorch's OneCycleLR value at a step.

    It rises from values[0] to values[1] in the first 30 % of steps, then falls to values[2], both
    along a cosine.

    Args:
        step: from 0.
        steps: the number of steps of the whole training.
        values: start, maximum and end.
    """
    low, high, end = values
    top = _ONE_CYCLE_RISE * steps - 1
    if step <= top:
        return _cosine(low, high, step / top)
    return _cosine(high, end, (step - top) / (steps - 1 - top))


def _cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * fraction))


def _l1(y: tf.Tensor, p: tf.Tensor) -> tf.Tensor:
    return tf.abs(y - p)


def _mse(y: tf.Tensor, p: tf.Tensor) -> tf.Tensor:
    return tf.square(y - p)


def _huber(y: tf.Tensor, p: tf.Tensor) -> tf.Tensor:
    error = tf.abs(y - p)
    linear = _HUBER_DELTA * (error - _HUBER_DELTA / 2)
    return tf.where(error <= _HUBER_DELTA, tf.square(error) / 2, linear)

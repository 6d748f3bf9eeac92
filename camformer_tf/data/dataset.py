"""A split as shuffled batches of letters, which become channels within the training step."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from camformer_tf import errors, recipe
from camformer_tf.data import text


def steps_per_epoch(examples: text.Examples, batch_size: int, where: str) -> int:
    """Returns the number of whole batches; the rest, below one batch, is left out each epoch.

    Raises:
        errors.UserError: there is not one whole batch.
    """
    steps = len(examples.expression) // batch_size
    if not steps:
        raise errors.UserError(
            f"{where}: {len(examples.expression)} training examples are fewer than one batch of "
            f"{batch_size}. Pass --set train.batch_size=N with a smaller N."
        )
    return steps


def epoch(examples: text.Examples, batch_size: int, *, seed: int, index: int) -> tf.data.Dataset:
    """Returns one training epoch: whole batches of letters (B, L) and expression float32 (B,).

    The order is a uniform shuffle that depends on nothing but (seed, index).
    """
    order = np.random.default_rng([recipe.sub_seed(seed, "order"), index])
    order = order.permutation(len(examples.expression))
    letters, expression = tf.constant(examples.letters), tf.constant(examples.expression)
    return (
        tf.data.Dataset.from_tensor_slices(order)
        .batch(batch_size, drop_remainder=True)
        .map(lambda rows: (tf.gather(letters, rows), tf.gather(expression, rows)))
        .prefetch(tf.data.AUTOTUNE)
    )

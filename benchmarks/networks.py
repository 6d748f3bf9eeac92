"""Random examples, the rate of training on them, and a network's cost: for several benchmarks."""

from __future__ import annotations

import math
import time

import numpy as np

SECONDS = 8  # at least so many seconds of steps are measured


def gigaflop(name: str) -> float:
    """Returns the GFLOP of predicting one sequence; a training step takes three times as many."""
    from camformer_tf import recipe
    from camformer_tf.model import rescnn

    layers = [layer for layer in rescnn.from_recipe(recipe.load(name)).layers if layer.weights]
    shapes = {layer: layer.weights[0].shape for layer in layers if "norm" not in layer.name}
    # A kernel (K, C, F) is applied at every position of the output (N, L, F), a matrix at one.
    positions = {layer: layer.output.shape[1] if len(s) == 3 else 1 for layer, s in shapes.items()}
    return sum(2 * math.prod(shape) * positions[layer] for layer, shape in shapes.items()) / 1e9


def random_examples(count: int, length: int):
    """Returns random letters and expressions."""
    from camformer_tf.data import text

    generator = np.random.default_rng(1)
    codes = generator.integers(0, 4, (count, length), np.uint8)  # (N, L)
    letters = np.frombuffer(b"ACGT", np.uint8)[codes]  # (N, L)
    return text.Examples(letters, generator.normal(size=count).astype(np.float32))


def training_rate(name: str, overrides: list[str], examples, batch: int, *, epochs: int = 0):
    """Returns sequences/s of training: in the last of several epochs, or during some seconds."""
    import keras

    from camformer_tf import recipe
    from camformer_tf.batches import dataset
    from camformer_tf.data import sequence
    from camformer_tf.model import rescnn
    from camformer_tf.training import loop, optimizers, strategies

    class Watch(keras.callbacks.Callback):
        """Measures the rate and stops the training; the first steps trace and allocate."""

        rate, first = None, None

        def on_train_batch_end(self, step, logs=None):
            if self.first is None and step >= 2:
                self.first, self.start = step, time.perf_counter()
            elif self.first is not None and time.perf_counter() - self.start > SECONDS:
                seconds = time.perf_counter() - self.start
                self.rate = (step - self.first) * batch / seconds
                self.model.stop_training = True

    devices = strategies.make("one")
    settings = recipe.load(name, overrides)
    model = rescnn.from_recipe(settings, devices.precision)
    model.optimizer = optimizers.build(settings.train)
    model.optimizer.build(model.trainable_variables)
    steps = len(examples.expression) // batch
    epoch = dataset.from_memory(examples, batch, steps, seed=1)
    watch = Watch()
    if not epochs:  # the same examples are repeated until the watch stops the training
        single_epoch = epoch
        steps, epoch = 10**9, lambda index: single_epoch(index).repeat()
    loop.train(
        model,
        dataset.Batches("memory", len(examples.expression), steps, epoch),
        loss=optimizers.loss(settings.train.loss),
        table=sequence.training_table(settings.data.encoding),
        strategy=devices.strategy,
        epochs=epochs or 1,
        batch_size=batch,
        callbacks=[] if epochs else [watch],
        steps_per_call=devices.steps_per_call,
        xla=devices.xla,
    )
    return watch.rate or model.history.history["sequences_per_second"][-1]

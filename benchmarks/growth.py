"""Measures how the cost of training, prediction and validation grows, and draws it.

    python benchmarks/growth.py

The recipe `mini` in the precision that suits this machine: sequences/s against the batch, and
against the length of the sequences; seconds of a validation against its size; and, with the recipe
`smoke`, seconds of an epoch against the number of its sequences. Letters and expressions are
random. Each point is a process of its own. The figure goes to docs/growth.svg, the table to
benchmarks/RESULTS.md. Needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import records  # the benchmark of that name, for its save()

SECONDS = 8  # of work measured, at least, where it is a rate
FIGURE = Path(__file__).parents[1] / "docs" / "growth.svg"
SERIES = {
    "batch": [64, 128, 256, 512, 1024, 2048, 4096],
    "length": [110, 220, 330, 440, 660, 1000],
    "validation": [1_000, 3_000, 10_000, 30_000, 100_000],
    "epoch": [10_000, 30_000, 100_000, 300_000, 1_000_000],
}


def example_set(count: int, length: int):
    from camformer_tf.data import text

    draw = np.random.default_rng(1)
    letters = np.frombuffer(b"ACGT", np.uint8)[draw.integers(0, 4, (count, length), np.uint8)]
    return text.Examples(letters, draw.normal(size=count).astype(np.float32))


def training(name: str, overrides: list[str], examples, batch: int, *, whole_epochs: int = 0):
    """Returns sequences/s of training: of the last of so many epochs, or of some seconds."""
    import keras

    from camformer_tf import recipe
    from camformer_tf.batches import dataset
    from camformer_tf.data import sequence
    from camformer_tf.model import rescnn
    from camformer_tf.training import loop, optimizer, strategy

    class Watch(keras.callbacks.Callback):
        """Stops the training when enough is seen; the first steps trace and allocate."""

        rate, first = None, None

        def on_train_batch_end(self, step, logs=None):
            if self.first is None and step >= 2:
                self.first, self.start = step, time.perf_counter()
            elif self.first is not None and time.perf_counter() - self.start > SECONDS:
                seconds = time.perf_counter() - self.start
                self.rate = (step - self.first) * batch / seconds
                self.model.stop_training = True

    made = strategy.make("one")
    settings = recipe.load(name, overrides)
    model = rescnn.from_recipe(settings, made.precision)
    model.optimizer = optimizer.optimizer(settings.train)
    model.optimizer.build(model.trainable_variables)
    steps = len(examples.expression) // batch
    epoch = dataset.from_memory(examples, batch, steps, seed=1)
    watch = Watch()
    if not whole_epochs:  # the same examples time and again, until enough is seen
        once = epoch
        steps, epoch = 10**9, lambda index: once(index).repeat()
    loop.train(
        model,
        dataset.Batches("memory", len(examples.expression), steps, epoch),
        loss=optimizer.loss(settings.train.loss),
        table=sequence.training_table(settings.data.encoding),
        strategy=made.strategy,
        epochs=whole_epochs or 1,
        batch_size=batch,
        callbacks=[] if whole_epochs else [watch],
        steps_per_call=made.steps_per_call,
        xla=made.xla,
    )
    return watch.rate or model.history.history["sequences_per_second"][-1]


def prediction(overrides: list[str], letters: np.ndarray, batch: int) -> float:
    """Returns sequences/s."""
    from camformer_tf import recipe
    from camformer_tf.model import predictors, rescnn

    settings = recipe.load("mini", overrides)
    predictor = predictors.folding(rescnn.from_recipe(settings), settings, "mixed_bfloat16", batch)
    predictor(letters)
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        predictor(letters)
        done += len(letters)
    return done / (time.perf_counter() - start)


# === The points, each in a process of its own ===


def batch(size: int) -> dict[str, float]:
    examples = example_set(size * max(4, 2048 // size), 110)
    return {
        "training": training("mini", [], examples, size),
        "prediction": prediction([], examples.letters, size),
    }


def length(letters: int) -> dict[str, float]:
    examples, overrides = example_set(2048, letters), [f"data.length={letters}"]
    return {
        "training": training("mini", overrides, examples, 256),
        "prediction": prediction(overrides, examples.letters, 1024),
    }


def validation(size: int) -> dict[str, float]:
    from camformer_tf import recipe
    from camformer_tf.model import predictors, rescnn
    from camformer_tf.training import callbacks, optimizer

    settings, examples = recipe.load("mini"), example_set(size, 110)
    model = rescnn.from_recipe(settings)
    predictor = predictors.folding(model, settings)
    predictor(examples.letters[:2048])
    known, seconds = predictor(examples.letters), {}
    for what, predicted in (("all", predictor), ("scores alone", lambda letters: known)):
        columns, loss = (examples.letters, examples.expression), optimizer.loss("l1")
        scores = callbacks.CorrelationScores(*columns, loss=loss, predict=predicted)
        start = time.perf_counter()
        scores.on_epoch_end(0, {})
        seconds[what] = time.perf_counter() - start
    return seconds


def epoch(size: int) -> dict[str, float]:
    examples = example_set(size, 110)
    rate = training("smoke", [], examples, 256, whole_epochs=2)
    return {"training": size / rate}


# === All of them ===


def measure(series: str, at: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--point", series, str(at)]
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=quiet)
    values = json.loads(done.stdout.splitlines()[-1])
    print(series, at, values, flush=True)
    return values


def slope(at: list[int], values: list[float]) -> float:
    """Returns the power of `at` that the values grow by: 1 is linear."""
    return float(np.polyfit(np.log(at), np.log(values), 1)[0])


def draw(found: dict[str, dict[int, dict[str, float]]]) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "growth"  # the same bytes for the same figures
    from matplotlib import pyplot, ticker

    titles = {
        "batch": ("batch, sequences", "sequences/s (mini)"),
        "length": ("length, letters", "sequences/s (mini)"),
        "validation": ("validation set, sequences", "seconds (mini, float32)"),
        "epoch": ("training set, sequences", "seconds an epoch (smoke)"),
    }
    figure, panels = pyplot.subplots(2, 2, figsize=(9, 7), layout="constrained")
    for panel, (series, points) in zip(panels.flat, found.items(), strict=True):
        at = list(points)
        for name, marker in zip(points[at[0]], ("o-", "s--"), strict=False):
            values = [points[x][name] for x in at]
            panel.loglog(at, values, marker, label=name)
            if series != "batch":  # what linear growth from the last point would be
                power = -1 if series == "length" else 1
                line = [values[-1] * (x / at[-1]) ** power for x in at]
                panel.loglog(at, line, color="grey", linewidth=0.8, linestyle=":")
        panel.set(xlabel=titles[series][0], ylabel=titles[series][1])
        panel.set_xticks(at, [f"{x:,}" for x in at], rotation=30)
        panel.xaxis.set_minor_locator(ticker.NullLocator())
        low, high = panel.get_ylim()
        panel.set_ylim(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high)))
        panel.grid(alpha=0.3)
        panel.legend()
    figure.savefig(FIGURE, metadata={"Date": None})


def main() -> None:
    found = {name: {at: measure(name, at) for at in where} for name, where in SERIES.items()}
    lines = ["| against | at | figures |", "|---|---|---|"]
    for series, points in found.items():
        for at, values in points.items():
            digits = {name: ",.0f" if value >= 100 else ".3g" for name, value in values.items()}
            shown = ", ".join(f"{name} {value:{digits[name]}}" for name, value in values.items())
            lines.append(f"| {series} | {at:,} | {shown} |")
    powers = {
        f"{series}, {name}": slope(list(points), [values[name] for values in points.values()])
        for series, points in found.items()
        if series != "batch"
        for name in next(iter(points.values()))
    }
    told = "; ".join(f"{name} {power:.2f}" for name, power in powers.items())
    about = (
        f"{os.cpu_count()} cores ({records.processor()}). Batch and length: sequences/s; "
        f"validation and epoch: seconds. The power of the size by which they grow: {told}."
    )
    records.save("Growth", f"{about}\n\n" + "\n".join(lines))
    draw(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--point", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.point:
        print(json.dumps(globals()[chosen.point[0]](int(chosen.point[1]))))
    else:
        main()

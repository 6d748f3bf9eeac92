"""Measures how the cost of training, prediction and validation grows, and plots it.

    python benchmarks/growth.py [--series batch,length,validation,epoch] [--largest SIZE]

The recipe `mini` in the precision that suits this machine: sequences/s against the size of a batch,
and against the length of the sequences; seconds of a validation against the size of the validation
set; and, with the recipe `smoke`, seconds of an epoch against the size of the training set. Letters
and expressions are random. Each point is measured in a process of its own. The whole run writes the
figure docs/growth.svg and a table in benchmarks/RESULTS.md; a part of it (`--series`, `--largest`)
only prints its points. It needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
import math
import time

import harness
import networks
import numpy as np

FIGURE = harness.ROOT / "docs" / "growth.svg"
SERIES = {
    "batch": [64, 128, 256, 512, 1024, 2048, 4096],
    "length": [110, 220, 330, 440, 660, 1000],
    "validation": [1_000, 3_000, 10_000, 30_000, 100_000],
    "epoch": [10_000, 30_000, 100_000, 300_000, 1_000_000],
}
Figures = dict[str, float]  # name of a curve → its value at one point


def prediction_rate(overrides: list[str], letters: np.ndarray, batch: int) -> float:
    """Returns sequences/s."""
    from camformer_tf import recipe
    from camformer_tf.model import predictors, rescnn

    settings = recipe.load("mini", overrides)
    predictor = predictors.folding(rescnn.from_recipe(settings), settings, "mixed_bfloat16", batch)
    predictor(letters)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < networks.SECONDS:
        predictor(letters)
        count += len(letters)
    return count / (time.perf_counter() - start)


# === The points, each in a process of its own ===


def batch_point(size: int) -> Figures:
    examples = networks.random_examples(size * max(4, 2048 // size), 110)
    return {
        "training": networks.training_rate("mini", [], examples, size),
        "prediction": prediction_rate([], examples.letters, size),
    }


def length_point(length: int) -> Figures:
    examples, overrides = networks.random_examples(2048, length), [f"data.length={length}"]
    return {
        "training": networks.training_rate("mini", overrides, examples, 256),
        "prediction": prediction_rate(overrides, examples.letters, 1024),
    }


def validation_point(size: int) -> Figures:
    from camformer_tf import recipe
    from camformer_tf.model import predictors, rescnn
    from camformer_tf.training import callbacks, optimizers

    settings, examples = recipe.load("mini"), networks.random_examples(size, 110)
    predictor = predictors.folding(rescnn.from_recipe(settings), settings)
    predictor(examples.letters[:2048])  # traces
    predictions, seconds = predictor(examples.letters), {}
    for name, predict in (("all", predictor), ("scores alone", lambda letters: predictions)):
        columns, loss = (examples.letters, examples.expression), optimizers.loss("l1")
        scores = callbacks.CorrelationScores(*columns, loss=loss, predict=predict)
        start = time.perf_counter()
        scores.on_epoch_end(0, {})
        seconds[name] = time.perf_counter() - start
    return seconds


def epoch_point(size: int) -> Figures:
    examples = networks.random_examples(size, 110)
    return {"training": size / networks.training_rate("smoke", [], examples, 256, epochs=2)}


POINTS = {
    "batch": batch_point,
    "length": length_point,
    "validation": validation_point,
    "epoch": epoch_point,
}


def print_point(series: str, size: str) -> None:
    print(json.dumps(POINTS[series](int(size))))


# === The curves ===


def measure(series: str, size: int) -> Figures:
    figures = json.loads(harness.run_part(__file__, "point", series, size))
    print(series, size, figures, flush=True)
    return figures


def power(sizes: list[int], values: list[float]) -> float:
    """Returns the power of the size by which the values grow: 1 is linear."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def plot(curves: dict[str, dict[int, Figures]]) -> None:
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
    for panel, (series, points) in zip(panels.flat, curves.items(), strict=True):
        sizes = list(points)
        for name, marker in zip(points[sizes[0]], ("o-", "s--"), strict=False):
            values = [points[size][name] for size in sizes]
            panel.loglog(sizes, values, marker, label=name)
            if series != "batch":  # linear growth, drawn through the last point
                exponent = -1 if series == "length" else 1
                line = [values[-1] * (size / sizes[-1]) ** exponent for size in sizes]
                panel.loglog(sizes, line, color="grey", linewidth=0.8, linestyle=":")
        panel.set(xlabel=titles[series][0], ylabel=titles[series][1])
        panel.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=30)
        panel.xaxis.set_minor_locator(ticker.NullLocator())
        low, high = panel.get_ylim()
        panel.set_ylim(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high)))
        panel.grid(alpha=0.3)
        panel.legend()
    figure.savefig(FIGURE, metadata={"Date": None})


def table(curves: dict[str, dict[int, Figures]]) -> str:
    """Returns the section of RESULTS.md."""
    lines = ["| against | at | figures |", "|---|---|---|"]
    for series, points in curves.items():
        for size, values in points.items():
            digits = {name: ",.0f" if value >= 100 else ".3g" for name, value in values.items()}
            figures = ", ".join(f"{name} {value:{digits[name]}}" for name, value in values.items())
            lines.append(f"| {series} | {size:,} | {figures} |")
    powers = {
        f"{series}, {name}": power(list(points), [values[name] for values in points.values()])
        for series, points in curves.items()
        if series != "batch"
        for name in next(iter(points.values()))
    }
    summary = "; ".join(f"{name} {value:.2f}" for name, value in powers.items())
    intro = (
        f"{harness.machine()}. Batch and length: sequences/s; validation and epoch: seconds. "
        f"Power of the size by which they grow: {summary}."
    )
    return f"{intro}\n\n" + "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", default=",".join(SERIES))
    parser.add_argument("--largest", type=int, default=10**9)
    options = harness.parse(parser, {"point": print_point})
    sizes = {
        name: [size for size in SERIES[name] if size <= options.largest]
        for name in options.series.split(",")
    }
    curves = {name: {size: measure(name, size) for size in sizes[name]} for name in sizes}
    if sizes == SERIES:
        harness.save("Growth", table(curves))
        plot(curves)


if __name__ == "__main__":
    main()

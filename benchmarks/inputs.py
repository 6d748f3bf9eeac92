"""Measures how fast training sequences are read from records, beside the rate of training on them.

    python benchmarks/inputs.py [--sequences 500000] [--recipes original,small,mini,smoke]

Batches are read as the training loop reads them and dropped: from memory, streamed, and with
augmentation. Then the same recipe is trained with the same batch size. Each measurement is a
process of its own. The table goes to benchmarks/RESULTS.md, with the rates at which H100 GPUs would
train.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import harness
import networks

SECONDS = 5
STEPS = 50  # batches read in a call
H100 = 989.4e3  # GFLOP/s in bfloat16, dense: NVIDIA H100 SXM data sheet
TRICKS = ("tricks.shift=3", "tricks.reverse_complement=0.5", "tricks.target_noise=0.1")
SOURCES = {"memory": ("memory", ()), "streamed": ("stream", ()), "with tricks": ("memory", TRICKS)}


def print_reading_rate(name: str, source: str, folder: str) -> None:
    """Prints sequences/s of reading batches."""
    import tensorflow as tf

    from camformer_tf import recipe
    from camformer_tf.batches import augment, dataset, targets
    from camformer_tf.training import steps

    mode, tricks = SOURCES[source]
    settings = recipe.load(name, tricks)
    expressions = targets.load(settings.tricks, Path(folder), "train")
    size, seed = settings.train.batch_size, settings.train.seed
    batches = dataset.batches(
        Path(folder),
        batch_size=size,
        seed=seed,
        mode=mode,
        sampling=targets.Sampling(expressions.tails),
    )
    batches = augment.wrap(batches, settings, expressions)
    strategy = tf.distribute.get_strategy()

    @tf.function
    def read(data):
        total = tf.constant(0.0)
        for _ in tf.range(STEPS):
            letters, expression = next(data)
            total += expression[0] + tf.cast(letters[0, 0], tf.float32)
        return total

    count, seconds, epoch = 0, 0.0, 0
    while seconds < SECONDS:  # whole epochs, because the permutation at their start counts
        start = time.perf_counter()
        data = iter(steps.distribute(batches, epoch, 0, strategy))
        for _ in range(batches.steps // STEPS):
            read(data)
        if epoch:  # the first epoch traces
            seconds += time.perf_counter() - start
            count += batches.steps // STEPS * STEPS * size
        epoch += 1
    print(count / seconds)


def print_training_rate(name: str) -> None:
    """Prints sequences/s of training on examples in memory."""
    from camformer_tf import recipe

    size = recipe.load(name).train.batch_size
    print(networks.training_rate(name, [], networks.random_examples(4 * size, 110), size))


PARTS = {"read": print_reading_rate, "train": print_training_rate}


def measure(name: str, records: Path) -> str:
    """Returns the row of a recipe."""
    rates = [float(harness.run_part(__file__, "read", name, source, records)) for source in SOURCES]
    training_rate = float(harness.run_part(__file__, "train", name))
    gpu_rates = [gpus * H100 / 2 / (3 * networks.gigaflop(name)) for gpus in (1, 4, 8)]
    cells = " | ".join(f"{rate:,.0f}" for rate in [*rates, training_rate])
    shares = ", ".join(f"{training_rate / rate:.2%}" for rate in rates)
    return f"| {name} | {cells} | {shares} | {', '.join(f'{r:,.0f}' for r in gpu_rates)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=int, default=500_000)
    parser.add_argument("--recipes", default="original,small,mini,smoke")
    options = harness.parse(parser, PARTS)
    lines = [
        "| recipe | " + " | ".join(f"{source}, sequences/s" for source in SOURCES) + " | training "
        "| share of a step | 1, 4, 8 H100 at half their peak |",
        "|---" * (len(SOURCES) + 4) + "|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        records = harness.simulate_records(Path(folder), options.sequences)
        for name in options.recipes.split(","):
            lines.append(measure(name, records))
            print(lines[-1], flush=True)
    intro = (
        f"{harness.machine()}; {options.sequences:,} simulated sequences, the recipe's own batch "
        "size. The share is the time of reading a batch alone, as a part of the time of training "
        "on it: the loss of training if the two did not overlap."
    )
    harness.save("Input pipeline", f"{intro}\n\n" + "\n".join(lines))


if __name__ == "__main__":
    main()

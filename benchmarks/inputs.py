"""Measures how fast training sequences come from records, beside how fast they are trained on.

    python benchmarks/inputs.py [--sequences 500000]

Batches are read as the training loop reads them, from memory, streamed and with tricks, and thrown
away; then trained on, by the same recipe with the same batch. Each is a process of its own. The
table goes to benchmarks/RESULTS.md, with what H100 GPUs would take.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import growth  # the benchmark of that name, for its training()
import records  # and for its save()
import training  # and for its gigaflop()

SECONDS = 5
STEPS = 50  # batches read in a call
H100 = 989.4e3  # GFLOP/s in bfloat16, dense: NVIDIA H100 SXM data sheet
TRICKS = ("tricks.shift=3", "tricks.reverse_complement=0.5", "tricks.target_noise=0.1")
WAYS = {"memory": ("memory", ()), "streamed": ("stream", ()), "with tricks": ("memory", TRICKS)}


def reading(name: str, way: str, folder: str) -> float:
    """Returns sequences/s."""
    import tensorflow as tf

    from camformer_tf import recipe
    from camformer_tf.batches import augment, dataset, targets
    from camformer_tf.training import loop

    mode, tricks = WAYS[way]
    settings = recipe.load(name, tricks)
    known = targets.load(settings.tricks, Path(folder), "train")
    size, seed = settings.train.batch_size, settings.train.seed
    batches = dataset.load(
        Path(folder), "train", size, seed=seed, mode=mode, seen=targets.Seen(known.tails)
    )
    batches = augment.wrap(batches, settings, known)
    one = tf.distribute.get_strategy()

    @tf.function
    def read(data):
        total = tf.constant(0.0)
        for _ in tf.range(STEPS):
            letters, expression = next(data)
            total += expression[0] + tf.cast(letters[0, 0], tf.float32)
        return total

    done, seconds, epoch = 0, 0.0, 0
    while seconds < SECONDS:  # whole epochs: the start of one, its permutation, counts
        start = time.perf_counter()
        data = iter(loop._distributed(batches, loop.Progress(epoch), one))
        for _ in range(batches.steps // STEPS):
            read(data)
        if epoch:  # the first one traces
            seconds += time.perf_counter() - start
            done += batches.steps // STEPS * STEPS * size
        epoch += 1
    return done / seconds


def trained(name: str) -> float:
    """Returns sequences/s."""
    from camformer_tf import recipe

    size = recipe.load(name).train.batch_size
    return growth.training(name, [], growth.example_set(4 * size, 110), size)


def apart(*arguments: str) -> float:
    command = [sys.executable, __file__, "--one", *arguments]
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=quiet)
    return float(done.stdout.splitlines()[-1])


def main(sequences: int) -> None:
    lines = [
        "| recipe | " + " | ".join(f"{way}, sequences/s" for way in WAYS) + " | trained on | "
        "share of a step | 1, 4, 8 H100 at half their peak would take |",
        "|---" * (len(WAYS) + 4) + "|",
    ]
    with tempfile.TemporaryDirectory() as made:
        command = [sys.executable, "-m", "camformer_tf.cli"]
        text, folder = f"{made}/library.txt", f"{made}/records"
        quiet = {"check": True, "stdout": subprocess.DEVNULL}
        simulate = [*command, "simulate", text, "--sequences", str(sequences), "--quiet"]
        subprocess.run(simulate, **quiet)
        subprocess.run([*command, "build-records", text, folder, "--quiet"], **quiet)
        for name in ("original", "small", "mini", "smoke"):
            rates = [apart("reading", name, way, folder) for way in WAYS]
            rate = apart("trained", name)
            taken = [n * H100 / 2 / (3 * training.gigaflop(name)) for n in (1, 4, 8)]
            shown = " | ".join(f"{value:,.0f}" for value in [*rates, rate])
            wanted = ", ".join(f"{value:,.0f}" for value in taken)
            shares = ", ".join(f"{rate / value:.2%}" for value in rates)
            lines.append(f"| {name} | {shown} | {shares} | {wanted} |")
            print(lines[-1], flush=True)
    about = (
        f"{os.cpu_count()} cores ({records.processor()}); {sequences:,} simulated sequences, the "
        "recipe's own batch. The share is the time that reading a batch takes, alone, of that of "
        "training on it: what training would lose if the two did not overlap."
    )
    records.save("Input pipeline", f"{about}\n\n" + "\n".join(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=int, default=500_000)
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(globals()[chosen.one[0]](*chosen.one[1:]))
    else:
        main(chosen.sequences)

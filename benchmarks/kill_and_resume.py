"""Kills a training at random moments, resumes it each time, and compares it with one left alone.

    python benchmarks/kill_and_resume.py [--kills 20] [--signal KILL] [--epochs 60]
        [--options "--devices 2 --checkpoint-steps 3"]

Both runs are of the recipe `smoke` on the sample, with dropout, augmentation, a learning rate that
is cut and early stopping. Compared are, bit for bit, log.txt, history.csv but for its seconds, the
predictions, and all variables of the best model and of the last checkpoint. Exits 1 if anything
differs.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

SAMPLE = Path(__file__).parents[1] / "tfrecords" / "sample"
COMMON = [
    *("--set", "train.patience=25", "--set", "train.batch_size=64"),
    *("--set", "tricks.shift=2", "--set", "tricks.target_noise=0.2"),
    *("--precision", "float32", "--quiet"),
]


def command(out: Path, options: list[str]) -> list[str]:
    program = [sys.executable, "-m", "camformer_tf.cli", "fit", "smoke", str(SAMPLE), str(out)]
    return [*program, *COMMON, *options]


def train_killed(out: Path, options: list[str], kills: int, number: signal.Signals) -> int:
    """Trains to the end through so many kills, and returns how many fell into a running process."""
    draw, done = random.Random(2022), 0
    for _ in range(kills):
        process = subprocess.Popen([*command(out, options), "--resume"])
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(draw.uniform(2, 9))
        done += process.poll() is None
        process.send_signal(number)
        process.wait(60)
    subprocess.run([*command(out, options), "--resume"], check=True)
    return done


def differences(one: Path, other: Path) -> list[str]:
    """Returns the names of what is not the same in two runs."""
    found = []
    if (one / "log.txt").read_bytes() != (other / "log.txt").read_bytes():
        found.append("log.txt")
    tables = [pd.read_csv(run / "history.csv", dtype=str) for run in (one, other)]
    if not tables[0].drop(columns="seconds").equals(tables[1].drop(columns="seconds")):
        found.append("history.csv")
    with np.load(one / "last/checkpoint.npz") as a, np.load(other / "last/checkpoint.npz") as b:
        names = [name for name in a.files if name != "head"]
        if not all(np.array_equal(a[name], b[name]) for name in names):
            found.append("last/checkpoint.npz")
    weights = [zipfile.ZipFile(run / "best.keras").read("model.weights.h5") for run in (one, other)]
    if weights[0] != weights[1]:
        found.append("best.keras")
    if (one / "val_predictions.tsv").read_bytes() != (other / "val_predictions.tsv").read_bytes():
        found.append("val_predictions.tsv")
    return found


def main(kills: int, number: signal.Signals, epochs: int, options: list[str]) -> int:
    options = ["--set", f"train.epochs={epochs}", *options]
    with tempfile.TemporaryDirectory() as folder:
        alone, killed = Path(folder, "alone"), Path(folder, "killed")
        subprocess.run(command(alone, options), check=True)
        done = train_killed(killed, options, kills, number)
        epochs = len(pd.read_csv(alone / "history.csv"))
        found = differences(alone, killed)
    print(
        f"{done} of {kills} {number.name} fell into a run of {epochs} epochs; "
        f"different from a run left alone: {', '.join(found) or 'nothing'}"
    )
    return 1 if found else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--signal", default="KILL", choices=["KILL", "TERM", "INT"])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--options", default="--checkpoint-steps 3", type=shlex.split)
    chosen = parser.parse_args()
    number = signal.Signals[f"SIG{chosen.signal}"]
    sys.exit(main(chosen.kills, number, chosen.epochs, chosen.options))

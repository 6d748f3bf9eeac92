"""Kills a training at random moments, resumes it each time, and compares it with one without kills.

    python benchmarks/kill_and_resume.py [--kills 20] [--signal KILL] [--epochs 60]
        [--options "--devices 2 --checkpoint-steps 3"]

Both runs train the recipe `smoke` on the sample, with dropout, augmentation, a falling learning
rate and early stopping. It compares, bit for bit, log.txt, history.csv (without its seconds), the
predictions, and all variables of the best model and of the last checkpoint. It exits with 1 if
anything differs.
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

import harness
import numpy as np
import pandas as pd

COMMON = [
    *("--set", "train.patience=25", "--set", "train.batch_size=64"),
    *("--set", "tricks.shift=2", "--set", "tricks.target_noise=0.2"),
    *("--precision", "float32", "--quiet"),
]


def command(run_dir: Path, options: list[str]) -> list[str]:
    program = [*harness.CAMFORMER_TF, "fit", "smoke", str(harness.SAMPLE), str(run_dir)]
    return [*program, *COMMON, *options]


def train_with_kills(run_dir: Path, options: list[str], kills: int, number: signal.Signals) -> int:
    """Trains to the end in spite of the kills; returns how many of them hit a running process."""
    generator, hits = random.Random(2022), 0
    for _ in range(kills):
        process = subprocess.Popen([*command(run_dir, options), "--resume"])
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(generator.uniform(2, 9))
        hits += process.poll() is None
        process.send_signal(number)
        process.wait(60)
    subprocess.run([*command(run_dir, options), "--resume"], check=True)
    return hits


def differences(first: Path, second: Path) -> list[str]:
    """Returns the names of the files in which two runs differ."""
    runs, names = (first, second), []
    if (first / "log.txt").read_bytes() != (second / "log.txt").read_bytes():
        names.append("log.txt")
    tables = [pd.read_csv(run / "history.csv", dtype=str) for run in runs]
    if not tables[0].drop(columns="seconds").equals(tables[1].drop(columns="seconds")):
        names.append("history.csv")
    with np.load(first / "last/checkpoint.npz") as a, np.load(second / "last/checkpoint.npz") as b:
        arrays = [name for name in a.files if name != "head"]
        if not all(np.array_equal(a[name], b[name]) for name in arrays):
            names.append("last/checkpoint.npz")
    weights = [zipfile.ZipFile(run / "best.keras").read("model.weights.h5") for run in runs]
    if weights[0] != weights[1]:
        names.append("best.keras")
    predictions = [(run / "val_predictions.tsv").read_bytes() for run in runs]
    if predictions[0] != predictions[1]:
        names.append("val_predictions.tsv")
    return names


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--signal", default="KILL", choices=["KILL", "TERM", "INT"])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--options", default="--checkpoint-steps 3", type=shlex.split)
    arguments = parser.parse_args()
    number = signal.Signals[f"SIG{arguments.signal}"]
    options = ["--set", f"train.epochs={arguments.epochs}", *arguments.options]
    with tempfile.TemporaryDirectory() as folder:
        reference, run = Path(folder, "reference"), Path(folder, "run")
        subprocess.run(command(reference, options), check=True)
        hits = train_with_kills(run, options, arguments.kills, number)
        epochs = len(pd.read_csv(reference / "history.csv"))
        names = differences(reference, run)
    print(
        f"{hits} of {arguments.kills} {number.name} hit a run of {epochs} epochs; "
        f"different from a run without kills: {', '.join(names) or 'nothing'}"
    )
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())

"""Measures by how much training differs on one device, two mirrored devices and two processes.

    python benchmarks/devices.py [--epochs 3]

The recipe `smoke` on the sample, in float32, without a GPU: the two mirrored devices are two
logical devices of the CPU, the two processes communicate over 127.0.0.1. The table goes to
benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import harness

sys.path.insert(0, str(harness.ROOT / "tests"))
from support import agreement

CASES = {
    "SGD, rate 0.001, no dropout": ("sgd", 0.0),
    "AdamW, no dropout": ("adamw", 0.0),
    "AdamW, dropout 0.2": ("adamw", 0.2),
}
COLUMNS = {  # title → arguments of largest_difference
    "weights": {"name": "/", "but": "moving"},
    "moving statistics": {"name": "/moving"},
    "training loss": {"name": "history loss"},
    "validation loss": {"name": "history val_loss"},
    "validation r": {"name": "history val_pearson"},
}


def measure(epochs: int) -> str:
    """Trains in every case on every kind of devices, and returns the table of differences."""
    lines = [f"| largest difference | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for title, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            (single,), (two_devices,), workers = (
                agreement.train(kind, *case, Path(folder), epochs=epochs)
                for kind in agreement.KINDS
            )
        pairs = {
            "mirrored, one": (two_devices, single),
            "process 0, mirrored": (workers[0], two_devices),
            "process 1, mirrored": (workers[1], two_devices),
        }
        for pair, (a, b) in pairs.items():
            values = [agreement.largest_difference(a, b, **names) for names in COLUMNS.values()]
            cells = " | ".join(f"{value:.1e}" if value else "0" for value in values)
            lines.append(f"| {title}: {pair} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    table = measure(options.epochs)
    harness.save("Devices", f"{options.epochs} epochs; {harness.machine()}.\n\n{table}")
    print(table)


if __name__ == "__main__":
    main()

"""Measures by how much one device, two mirrored ones and two processes differ after training.

    python benchmarks/devices.py [--epochs 3]

The recipe `smoke` on the sample, float32, without a GPU: two mirrored devices are the CPU in two
parts, two processes talk over 127.0.0.1. The table goes to benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import records  # the benchmark of that name, for its save()

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support import agreement

CASES = {
    "SGD, rate 0.001, no dropout": ("sgd", 0.0),
    "AdamW, no dropout": ("adamw", 0.0),
    "AdamW, dropout 0.2": ("adamw", 0.2),
}
COLUMNS = {
    "weights": {"name": "/", "but": "moving"},
    "moving statistics": {"name": "/moving"},
    "training loss": {"name": "history loss"},
    "validation loss": {"name": "history val_loss"},
    "validation r": {"name": "history val_pearson"},
}


def run(epochs: int) -> str:
    lines = [f"| largest difference | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for title, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            (one,), (mirrored,), both = (
                agreement.train(kind, *case, Path(folder), epochs=epochs)
                for kind in agreement.KINDS
            )
        pairs = {
            "mirrored, one": (mirrored, one),
            "process 0, mirrored": (both[0], mirrored),
            "process 1, mirrored": (both[1], mirrored),
        }
        for pair, (a, b) in pairs.items():
            values = [agreement.largest_difference(a, b, **which) for which in COLUMNS.values()]
            shown = " | ".join(f"{value:.1e}" if value else "0" for value in values)
            lines.append(f"| {title}: {pair} | {shown} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3)
    chosen = parser.parse_args()
    table = run(chosen.epochs)
    about = f"{chosen.epochs} epochs; {os.cpu_count()} cores ({records.processor()})."
    records.save("Devices", f"{about}\n\n{table}")
    print(table)

"""Compares search algorithms with one budget, and measures the memory of a long search.

    python benchmarks/tuning.py [--seeds 3] [--lines 20000] [--epochs 9]
    python benchmarks/tuning.py --memory [--trials 50]

Each algorithm searches a simulated library with each seed, in turns; every search is a
`camformer-tf tune` in a process of its own. Hyperband trains what its brackets need; the others get
as many trials of the same number of epochs as come to the same sum of epochs. The best recipe of
each search is then trained with another seed, so that the comparison does not depend on the luck of
one training. With --memory, it runs one search of many trials and measures the memory of the search
itself after each trial. The tables go to benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import harness
import psutil

ALGORITHMS = ("hyperband", "random", "bayesian")  # Hyperband first: it sets the budget
SPACE = """
schema: 1
search: {start_from: [smoke]}
model:
  residual: {choice: [true, false]}
  blocks:
    count: {int: [2, 4]}
    each:
      filters: {choice: [8, 16, 32]}
      kernel: {int: [3, 12]}
      dropout: {float: [0.0, 0.4]}
    pool: {at: {choice: [null, -1, -2]}, size: {int: [2, 10]}, stride: {int: [1, 4]}}
  dense: {count: {int: [0, 2]}, each: {choice: [16, 32, 64]}}
train:
  loss: {choice: [l1, mse, huber]}
  optimizer: {choice: [adamw, lion]}
  learning_rate: {log: [0.0001, 0.02]}
  weight_decay: {log: [0.00001, 0.1]}
  schedule: {choice: [none, plateau, onecycle]}
  batch_size: {choice: [64, 128, 256]}
  epochs: 9
"""
SMALLEST = """
schema: 1
model:
  residual: false
  blocks: [{filters: {int: [4, 53]}, kernel: 3}]
  dense: []
train: {epochs: 1, batch_size: 128}
"""


def simulate(folder: Path, lines: int) -> Path:
    """Returns the records of a simulated library."""
    split = "train=0.8,val=0.1,test=0.1"
    return harness.simulate_records(folder, lines, "--split", split, seed=7)


def search(space: Path, records: Path, out: Path, *options: object) -> list[dict[str, str]]:
    """Runs a search and returns the rows of its trials.csv, the best first."""
    harness.camformer_tf("tune", space, records, out, *options)
    with (out / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def measure_test_score(recipe: Path, records: Path, folder: Path, *options: object) -> float:
    """Returns r + rho on the test split of a recipe trained with another seed."""
    run, table, scores = folder / "run", folder / "test.tsv", folder / "scores.json"
    harness.camformer_tf("fit", recipe, records, run, "--set", "train.seed=1042", *options)
    harness.camformer_tf("predict", run, records, table, "--split", "test")
    command = [*harness.CAMFORMER_TF, "evaluate", str(table), "--out", str(scores)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    values = json.loads(scores.read_text())
    return values["pearson"] + values["spearman"]


def compare_algorithms(folder: Path, seeds: int, lines: int, epochs: int) -> list[str]:
    """Returns the lines of a table of algorithms, medians over seeds."""
    records, space = simulate(folder, lines), folder / "space.yaml"
    space.write_text(SPACE.replace("epochs: 9", f"epochs: {epochs}"))
    searches: dict[str, list[tuple]] = {name: [] for name in ALGORITHMS}
    for seed in range(1, seeds + 1):
        trials = None
        for name in ALGORITHMS:
            out = folder / f"{name}-{seed}"
            options = ("--algorithm", name, "--seed", seed, "--epochs", epochs)
            budget = ("--trials", trials) if trials else ()
            start = time.perf_counter()
            rows = search(space, records, out, *options, *budget)
            seconds = time.perf_counter() - start
            total = sum(int(row["epochs"]) for row in rows if row["status"] == "COMPLETED")
            trials = trials or round(total / epochs)
            test = measure_test_score(out / "best.yaml", records, out)
            searches[name].append((len(rows), total, seconds, float(rows[0]["score"]), test))
            print(name, seed, *searches[name][-1], flush=True)
    reference = folder / "smoke"
    reference.mkdir()
    recipe = harness.ROOT / "configs" / "smoke.yaml"
    smoke = measure_test_score(recipe, records, reference, "--set", f"train.epochs={epochs}")
    table = [
        "| algorithm | trials | epochs in all | seconds | best r + rho in validation, each seed | "
        "its recipe trained again: r + rho in test, each seed | median |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, columns in searches.items():
        trials, totals, seconds, best, test = zip(*columns, strict=True)
        table.append(
            f"| {name} | {statistics.median(trials):.0f} | {statistics.median(totals):.0f} | "
            f"{statistics.median(seconds):.0f} | {' '.join(f'{v:.3f}' for v in best)} | "
            f"{' '.join(f'{v:.3f}' for v in test)} | {statistics.median(test):.3f} |"
        )
    return [*table, "", f"For comparison, `smoke` after {epochs} epochs: {smoke:.3f} in test."]


def measure_memory(folder: Path, trials: int) -> list[str]:
    """Returns the lines of a table of a search's own memory by its number of trials."""
    records, space, out = simulate(folder, 2_000), folder / "space.yaml", folder / "out"
    space.write_text(SMALLEST)
    options = ["--algorithm", "grid", "--trials", str(trials), "--quiet"]
    command = [*harness.CAMFORMER_TF, "tune", str(space), str(records), str(out), *options]
    process = psutil.Popen(command, stdout=subprocess.DEVNULL)
    memory: dict[int, float] = {}  # finished trials → MiB
    while process.poll() is None:
        count = len(list((out / "trials").glob("*/run.json")))
        try:
            memory[count] = process.memory_info().rss / 2**20
        except psutil.NoSuchProcess:
            break
        time.sleep(0.5)
    if process.wait():
        raise SystemExit("the search failed")
    counts = sorted({1, 5, 10, 20, 30, 40, 50, 100, trials - 1} & set(memory) & set(range(trials)))
    return [
        "| finished trials | " + " | ".join(map(str, counts)) + " |",
        "|---" * (len(counts) + 1) + "|",
        "| memory of the search, MiB | " + " | ".join(f"{memory[n]:.0f}" for n in counts) + " |",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lines", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--trials", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.memory:
            title, table = "Search: memory", measure_memory(folder, options.trials)
        else:
            title = "Search: algorithms"
            table = compare_algorithms(folder, options.seeds, options.lines, options.epochs)
    print("\n".join(table))
    harness.save(title, "\n".join(table))


if __name__ == "__main__":
    main()

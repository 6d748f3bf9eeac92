"""Compares search algorithms on one budget, and watches a long search's memory.

    python benchmarks/tuning.py [--seeds 3] [--lines 20000]
    python benchmarks/tuning.py --memory [--trials 50]

A library is simulated, and each algorithm searches it with each seed, in turns, every search
`camformer-tf tune` in a process of its own. Hyperband trains what its brackets need; the others get
as many trials of the same number of epochs as come to the same sum of epochs. The best recipe of
each search is trained once more with another seed of training, so that what is compared is no luck
of one. With --memory, one search of many trials, whose own memory is looked at after each. The
tables go to benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import records  # the benchmark of that name, for its save()

ALGORITHMS = ("hyperband", "random", "bayesian")  # Hyperband first: it says what the budget is
EPOCHS = 9
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


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "camformer_tf.cli", *map(str, words), "--quiet"]


def simulated(folder: Path, lines: int) -> Path:
    """Returns the records of a simulated library."""
    text, made = folder / "library.txt", folder / "records"
    split = "train=0.8,val=0.1,test=0.1"
    subprocess.run(command("simulate", text, "--sequences", lines, "--seed", 7), check=True)
    subprocess.run(command("build-records", text, made, "--split", split), check=True)
    return made


def search(space: Path, made: Path, out: Path, *options: object) -> list[dict[str, str]]:
    """Runs a search and returns the rows of its trials.csv, the best first."""
    subprocess.run(
        command("tune", space, made, out, *options), check=True, stdout=subprocess.DEVNULL
    )
    with (out / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def test_scores(recipe: Path, made: Path, folder: Path) -> float:
    """Returns r + rho on the test split of a recipe trained with another seed."""
    run, table, scores = folder / "run", folder / "test.tsv", folder / "scores.json"
    for words in (
        ("fit", recipe, made, run, "--set", "train.seed=1042"),
        ("predict", run, made, table, "--split", "test"),
        ("evaluate", table, "--out", scores),
    ):
        subprocess.run(command(*words), check=True, stdout=subprocess.DEVNULL)
    found = json.loads(scores.read_text())
    return found["pearson"] + found["spearman"]


def compared(folder: Path, seeds: int, lines: int) -> list[str]:
    """Returns the lines of a table of algorithms, medians over seeds."""
    made, space = simulated(folder, lines), folder / "space.yaml"
    space.write_text(SPACE)
    found: dict[str, list[tuple]] = {name: [] for name in ALGORITHMS}
    for seed in range(1, seeds + 1):
        trials = None
        for name in ALGORITHMS:
            out = folder / f"{name}-{seed}"
            budget = ("--trials", trials) if trials else ()
            start = time.perf_counter()
            rows = search(
                space, made, out, "--algorithm", name, "--seed", seed, "--epochs", EPOCHS, *budget
            )
            seconds = time.perf_counter() - start
            trained = sum(int(row["epochs"]) for row in rows if row["status"] == "COMPLETED")
            trials = trials or round(trained / EPOCHS)
            test = test_scores(out / "best.yaml", made, out)
            found[name].append((len(rows), trained, seconds, float(rows[0]["score"]), test))
            print(name, seed, *found[name][-1], flush=True)
    reference = folder / "smoke"
    reference.mkdir()
    recipe = reference / "smoke.yaml"
    shipped = (Path(__file__).parents[1] / "configs" / "smoke.yaml").read_text()
    recipe.write_text(shipped.replace("epochs: 4", f"epochs: {EPOCHS}"))
    smoke = test_scores(recipe, made, reference)
    table = [
        "| algorithm | trials | epochs trained | seconds | best r + rho in validation, each seed | "
        "its recipe trained anew: r + rho in test, each seed | median |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, runs in found.items():
        trials, trained, seconds, best, test = zip(*runs, strict=True)
        table.append(
            f"| {name} | {statistics.median(trials):.0f} | {statistics.median(trained):.0f} | "
            f"{statistics.median(seconds):.0f} | {' '.join(f'{v:.3f}' for v in best)} | "
            f"{' '.join(f'{v:.3f}' for v in test)} | {statistics.median(test):.3f} |"
        )
    return [
        *table,
        "",
        f"For comparison, `smoke` trained for {EPOCHS} epochs: {smoke:.3f} in test.",
    ]


def watched(folder: Path, trials: int) -> list[str]:
    """Returns the lines of a table of a search's own memory after so many trials."""
    made, space, out = simulated(folder, 2_000), folder / "space.yaml", folder / "out"
    space.write_text(SMALLEST)
    process = psutil.Popen(
        command("tune", space, made, out, "--algorithm", "grid", "--trials", trials),
        stdout=subprocess.DEVNULL,
    )
    after: dict[int, float] = {}
    while process.poll() is None:
        done = len(list((out / "trials").glob("*/run.json")))
        try:
            after[done] = process.memory_info().rss / 2**20
        except psutil.NoSuchProcess:
            break
        time.sleep(0.5)
    if process.wait():
        raise SystemExit("the search failed")
    shown = [n for n in (1, 5, 10, 20, 30, 40, 50, 100, trials - 1) if n in after and n < trials]
    return [
        "| trials done | " + " | ".join(map(str, shown)) + " |",
        "|---" * (len(shown) + 1) + "|",
        "| memory of the search, MiB | " + " | ".join(f"{after[n]:.0f}" for n in shown) + " |",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lines", type=int, default=20_000)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--trials", type=int, default=50)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if chosen.memory:
            title, told = "Search: memory", watched(Path(name), chosen.trials)
        else:
            title, told = "Search: algorithms", compared(Path(name), chosen.seeds, chosen.lines)
    print("\n".join(told))
    records.save(title, "\n".join(told))


if __name__ == "__main__":
    main()

"""The same training with several seeds, one after another, each in a process of its own.

A process each, since Keras keeps about 15 bytes a parameter of every model that it has trained
(keras #20552).
"""

from __future__ import annotations

import csv
import logging
import statistics
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from camformer_tf import errors, files, rundir
from camformer_tf.training import child

# Source: train_rep.py:24, Bornelov-lab/Camformer@feaa529.
PUBLISHED_SEEDS = (42, 23, 47, 56, 89, 12, 34, 78, 67, 98)

_COLUMNS = {
    "seed": "seed",
    "epochs": "epochs",
    "best_epoch": "best_epoch",
    "val_loss": "best_loss",
    "val_pearson": "best_pearson",
    "val_spearman": "best_spearman",
    "val_score": "best_score",
    "sequences_per_second": "sequences_per_second",
}
_log = logging.getLogger(__name__)


class Ended(Exception):
    """A replicate's process ended with another code than 0."""

    def __init__(self, code: int):
        super().__init__(code)
        self.code = code


def train(
    seeds: Sequence[int],
    run_dir: Path,
    command: Callable[[int, Path], list[str]],
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> str:
    """Trains a replicate for each seed in RUN_DIR/seed-SEED, and returns a line for a person.

    replicates.csv gets a row for each as it is finished, and in the end their mean and standard
    deviation (n - 1).

    Args:
        command: seed, folder → the arguments of `camformer-tf` that train or resume one.
        resume: whether to go on where replicates are already.
        overwrite: whether to replace them.

    Raises:
        errors.UserError: seeds that repeat, or a `run_dir` that exists.
        Ended: a replicate failed, or a signal stopped it; those before it are kept.
    """
    if len(set(seeds)) < len(seeds):
        raise errors.UserError(f"--seeds {','.join(map(str, seeds))}: a seed stands there twice.")
    table = run_dir / rundir.REPLICATES
    if not (resume and table.is_file()):
        with files.new_folder(run_dir, overwrite=overwrite, marker=rundir.REPLICATES) as folder:
            _write(folder / rundir.REPLICATES, {})
    done: dict[int, rundir.Run] = {}
    for number, seed in enumerate(seeds, 1):
        _log.info(f"replicate {number} of {len(seeds)}: seed {seed}")
        folder = run_dir / rundir.replicate(seed)
        if code := child.run(command(seed, folder), stdout=subprocess.DEVNULL):
            raise Ended(code)
        done[seed] = rundir.load(folder)
        _write(table, done)
    r, rho = (_mean_sd([getattr(one, name) for one in done.values()], 4)
              for name in ("best_pearson", "best_spearman"))  # fmt: skip
    return f"{len(done)} replicates: r {r}, rho {rho}"


def _write(path: Path, done: dict[int, rundir.Run]) -> None:
    rows = [
        {"seed": seed}
        | {key: getattr(one, name) for key, name in _COLUMNS.items() if key != "seed"}
        for seed, one in done.items()
    ]
    if len(rows) > 1:
        values = {key: [row[key] for row in rows] for key in _COLUMNS if key != "seed"}
        for name, summary in (("mean", statistics.fmean), ("sd", statistics.stdev)):
            rows.append({"seed": name} | {key: summary(column) for key, column in values.items()})
    with (
        files.new_file(path, overwrite=True) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, list(_COLUMNS), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _mean_sd(values: list[float], digits: int) -> str:
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean + (f" (sd {statistics.stdev(values):.{digits}f})" if len(values) > 1 else "")

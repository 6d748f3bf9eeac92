"""The same training with several seeds, one after another, each in a process of its own.

Separate processes, since Keras keeps about 15 bytes a parameter of every model that it has trained
(keras #20552).
"""

from __future__ import annotations

import csv
import logging
import statistics
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from camformer_tf import errors, files, recipe, rundir
from camformer_tf.training import checks, child, jobs

# Source: train_rep.py:24, Bornelov-lab/Camformer@feaa529.
PUBLISHED_SEEDS = (42, 23, 47, 56, 89, 12, 34, 78, 67, 98)

_COLUMNS = {  # of replicates.csv → attribute of the run
    "seed": "seed",
    "epochs": "epochs",
    "best_epoch": "best_epoch",
    "val_loss": "best_loss",
    "val_pearson": "best_pearson",
    "val_spearman": "best_spearman",
    "val_score": "best_score",
    "sequences_per_second": "sequences_per_second",
}
_SIGNALS = (128 + 2, 128 + 15)  # exit codes of a training that SIGINT or SIGTERM stopped
_log = logging.getLogger(__name__)


class ReplicateFailure(Exception):
    """The process of a replicate ended with another exit code than 0.

    Attributes:
        code: the exit code.
        run_dir: the folder of the replicate.
    """

    def __init__(self, code: int, run_dir: Path) -> None:
        super().__init__(code)
        self.code, self.run_dir = code, run_dir

    def __str__(self) -> str:
        reason = (
            "a signal stopped the training"
            if self.code in _SIGNALS
            else f"the training ended with exit code {self.code}; its message is above"
        )
        return f"{self.run_dir}: {reason}. Continue the replicates with --resume (resume=True)."


def choose(seeds: Sequence[int] | None, count: int | None) -> list[int]:
    """Returns the seeds: those given, or the first `count` of the published ones.

    Raises:
        errors.UserError: both or neither are given, a seed is repeated or negative, or `count` is
            larger than the number of published seeds.
    """
    if seeds is None and count is not None:
        if not 1 <= count <= len(PUBLISHED_SEEDS):
            raise errors.UserError(
                f"--replicates {count}: expected 1 to {len(PUBLISHED_SEEDS)}, the number of "
                "published seeds. Pass --seeds for others."
            )
        return list(PUBLISHED_SEEDS[:count])
    if seeds is None or count is not None:
        raise errors.UserError("--replicates and --seeds exclude each other. Leave one out.")
    text = ",".join(map(str, seeds))
    if not seeds or any(seed < 0 for seed in seeds):
        raise errors.UserError(f"--seeds {text}: expected whole numbers from 0, such as 42,23.")
    if len(set(seeds)) < len(seeds):
        raise errors.UserError(f"--seeds {text}: a seed is repeated. Give each seed once.")
    return list(seeds)


def train(job: jobs.Job, seeds: Sequence[int], *, is_quiet: bool) -> dict[int, rundir.Run]:
    """Trains a replicate for each seed in RUN_DIR/seed-SEED.

    replicates.csv gets a row for each when it is finished, and in the end their mean and standard
    deviation (n - 1).

    Args:
        job: what each of them trains, but for the seed.
        seeds: see `choose`.
        is_quiet: whether the processes show no progress and no logs.

    Returns:
        The runs: seed → run.

    Raises:
        errors.UserError: recipe and records that do not fit together, or an existing `run_dir`.
        ReplicateFailure: a replicate failed, or a signal stopped it; those before it are kept.
    """
    checks.check_records(job.settings, job.records_dir)
    table = job.run_dir / rundir.REPLICATES
    if not _continues(job):
        overwrite = job.options.overwrite
        with files.new_folder(job.run_dir, overwrite=overwrite, marker=rundir.REPLICATES) as folder:
            _write(folder / rundir.REPLICATES, {})
    runs: dict[int, rundir.Run] = {}
    with tempfile.TemporaryDirectory() as temporary:
        recipe_file = Path(temporary, rundir.RECIPE)
        recipe_file.write_text(recipe.dump(job.settings), encoding="utf-8")
        for number, seed in enumerate(seeds, 1):
            _log.info(f"replicate {number} of {len(seeds)}: seed {seed}")
            folder = job.run_dir / rundir.replicate(seed)
            command = ["fit", str(recipe_file), str(job.records_dir), str(folder), "--resume"]
            command += ["--set", f"train.seed={seed}", *job.options.arguments()]
            command += ["--quiet"] if is_quiet else []
            if code := child.run(command, stdout=subprocess.DEVNULL):
                raise ReplicateFailure(code, folder)
            runs[seed] = rundir.load(folder)
            _write(table, runs)
    return runs


def check_folder(job: jobs.Job) -> None:
    """Raises UserError if `train` would refuse the run's folder."""
    if not _continues(job):
        overwrite = job.options.overwrite
        files.refuse_existing(job.run_dir, overwrite=overwrite, marker=rundir.REPLICATES)


def summary(runs: Mapping[int, rundir.Run]) -> str:
    """Returns the scores of replicates in a line for a person."""
    r, rho = (_mean_sd([getattr(run, name) for run in runs.values()], 4)
              for name in ("best_pearson", "best_spearman"))  # fmt: skip
    return f"{len(runs)} {'replicate' if len(runs) == 1 else 'replicates'}: r {r}, rho {rho}"


def _continues(job: jobs.Job) -> bool:
    return job.options.resume and (job.run_dir / rundir.REPLICATES).is_file()


def _write(path: Path, runs: Mapping[int, rundir.Run]) -> None:
    rows: list[dict[str, object]] = [
        {"seed": seed}
        | {key: getattr(run, name) for key, name in _COLUMNS.items() if key != "seed"}
        for seed, run in runs.items()
    ]
    if len(rows) > 1:
        columns = {
            key: [getattr(run, name) for run in runs.values()]
            for key, name in _COLUMNS.items()
            if key != "seed"
        }
        for label, statistic in (("mean", statistics.fmean), ("sd", statistics.stdev)):
            row = {key: statistic(values) for key, values in columns.items()}
            rows.append({"seed": label} | row)
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

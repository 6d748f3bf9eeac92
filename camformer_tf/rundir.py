"""A run's folder: the names of its files, and `Run`, the contents of run.json."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
from pathlib import Path

import camformer_tf
from camformer_tf import errors, files

RECIPE = "recipe.yaml"
RUN = "run.json"
HISTORY = "history.csv"
LOG = "log.txt"
BEST = "best.keras"
CHECKPOINTS = "last"
TENSORBOARD = "tensorboard"
VAL_PREDICTIONS = "val_predictions.tsv"
RECORDS = "records.json"  # the manifest of the training records
REPLICATES = "replicates.csv"
REPORT = "report.html"
CALIBRATION = "calibration.json"

_KEYS = {"stop_reason": "stopped"}  # fields of Run with another name in run.json


def replicate(seed: int | str) -> str:
    """Returns the name of a replicate's folder."""
    return f"seed-{seed}"


def replicates(path: Path) -> list[Path]:
    """Returns the folders of the replicates in `path`; none if it is one run, or no folder."""
    if (path / RECIPE).is_file() or not path.is_dir():
        return []
    return sorted(recipe.parent for recipe in path.glob(f"{replicate('*')}/{RECIPE}"))


def is_finished(run_dir: Path) -> bool:
    """Returns whether the run is finished: run.json is the last file that a run writes."""
    return (run_dir / RUN).is_file()


@dataclasses.dataclass(frozen=True, repr=False)
class Run:
    """A finished run: the contents of run.json.

    The best epoch is the one with the largest sum of Pearson's r and Spearman's rho in validation;
    `best.keras` and the scores are of this epoch.

    Attributes:
        versions: library → version.
        devices: the names of the devices that computed.
        strategy: how several devices shared the work, such as "mirrored".
        workers: the number of processes.
        precision: what the network computed in, such as "float32".
        data: where batches came from: "memory" or "stream".
        parameters: the number of trainable parameters.
        records_manifest_sha256: the checksum of the training records' manifest.
        epochs: the number of epochs trained.
        best_epoch: the number of the best epoch, from 1.
        best_score: best_pearson + best_spearman.
        best_pearson: Pearson's r in validation.
        best_spearman: Spearman's rho in validation.
        best_loss: the validation loss.
        stop_reason: why the training ended; "stopped" in run.json.
        seconds: wall time of the process that finished the run.
        sequences_per_second: the rate of the training steps.
    """

    versions: dict[str, str]
    devices: list[str]
    strategy: str
    workers: int
    precision: str
    data: str
    parameters: int
    records_manifest_sha256: str
    epochs: int
    best_epoch: int
    best_score: float
    best_pearson: float
    best_spearman: float
    best_loss: float
    stop_reason: str
    seconds: float
    sequences_per_second: float

    def summary(self) -> str:
        """Returns the run in one line."""
        return (
            f"best epoch {self.best_epoch} of {self.epochs} (r + rho {self.best_score:.4f}); "
            f"{self.stop_reason}; {self.seconds:,.0f} s, "
            f"{self.sequences_per_second:,.0f} sequences/s"
        )

    def __repr__(self) -> str:
        return "\n".join(
            [
                "Run",
                f"  best epoch   {self.best_epoch} of {self.epochs} ({self.stop_reason})",
                f"  validation   r {self.best_pearson:.4f}, rho {self.best_spearman:.4f}, "
                f"loss {self.best_loss:.4f}",
                f"  network      {self.parameters:,} parameters",
                f"  training     {self.seconds:,.0f} s, "
                f"{self.sequences_per_second:,.0f} sequences/s from {self.data}",
                f"  devices      {', '.join(self.devices)} ({self.precision})",
            ]
        )


def library_versions() -> dict[str, str]:
    """Returns the versions of Python and of the libraries that a run depends on."""
    return {
        "camformer_tf": camformer_tf.__version__,
        **{name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "numpy")},
        "python": platform.python_version(),
    }


def save(run: Run, run_dir: Path) -> None:
    """Writes run.json, the last of a run's files: it marks the run as finished."""
    values = {_KEYS.get(name, name): value for name, value in dataclasses.asdict(run).items()}
    with files.new_file(run_dir / RUN) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n")


def load(run_dir: Path) -> Run:
    """Returns the contents of run.json.

    Raises:
        errors.UserError: there is no run.json, or it is from another version of camformer_tf.
    """
    path = run_dir / RUN
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        names = {key: name for name, key in _KEYS.items()}
        return Run(**{names.get(key, key): value for key, value in values.items()})
    except FileNotFoundError as error:
        raise errors.UserError(
            f"{run_dir}: not a finished run: there is no {RUN} in it. "
            "Name a run directory of `camformer-tf fit`."
        ) from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise errors.UserError(f"{path}: not a {RUN} of this version ({error}).") from error


def load_if_finished(run_dir: Path) -> Run | None:
    """Returns the contents of run.json, or None while the run is not finished.

    Raises:
        errors.UserError: run.json cannot be read.
    """
    return load(run_dir) if is_finished(run_dir) else None

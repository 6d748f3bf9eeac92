"""A run's folder: the names of its files, and what run.json holds."""

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
RECORDS = "records.json"  # the manifest of the records that it was trained on
REPLICATES = "replicates.csv"
REPORT = "report.html"
CALIBRATION = "calibration.json"


def replicate(seed: int | str) -> str:
    """Returns the name of the folder of a replicate."""
    return f"seed-{seed}"


def replicates(path: Path) -> list[Path]:
    """Returns the runs in a run of replicates; none in anything else."""
    if (path / RECIPE).is_file() or not path.is_dir():
        return []
    return sorted(run.parent for run in path.glob(f"{replicate('*')}/{RECIPE}"))


@dataclasses.dataclass(frozen=True)
class Run:
    """The contents of run.json; seconds are of the process that finished the run, rates of the
    training steps.
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
    stopped: str
    seconds: float
    sequences_per_second: float

    def summary(self) -> str:
        """Returns the run in a line for a person."""
        return (
            f"best epoch {self.best_epoch} of {self.epochs} (r + rho {self.best_score:.4f}); "
            f"{self.stopped}; {self.seconds:,.0f} s, {self.sequences_per_second:,.0f} sequences/s"
        )


def library_versions() -> dict[str, str]:
    """Returns the versions that a run depends on."""
    return {
        "camformer_tf": camformer_tf.__version__,
        **{name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "numpy")},
        "python": platform.python_version(),
    }


def save(run: Run, run_dir: Path) -> None:
    """Writes run.json, the last of a run's files: with it, the run is finished."""
    with files.new_file(run_dir / RUN) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(run), indent=2) + "\n")


def load(run_dir: Path) -> Run:
    """Returns what run.json says.

    Raises:
        errors.UserError: there is none, or it is of another version.
    """
    path = run_dir / RUN
    try:
        return Run(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise errors.UserError(f"{path}: is no run.json of this version ({error}).") from error

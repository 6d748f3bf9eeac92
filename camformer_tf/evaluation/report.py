"""A run, or a run of replicates, as one HTML page."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

import camformer_tf
from camformer_tf import errors, files, recipe, rundir, wording
from camformer_tf.data import manifest
from camformer_tf.evaluation import challenge, findings, pairing, sections
from camformer_tf.evaluation import compare as comparing
from camformer_tf.metrics import dream as dream2022
from camformer_tf.pages import page

if TYPE_CHECKING:
    from camformer_tf.model import calibrations


def report(
    run_dir: files.PathLike,
    *,
    out: files.PathLike | None = None,
    predictions: pairing.Predictions | None = None,
    truth: pairing.Truth | None = None,
    dream: files.PathLike | None = None,
    leaderboard: files.PathLike | None = None,
    phase: challenge.Phase | None = None,
    published: files.PathLike | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes the report of a run, finished or not, and returns its path.

    Args:
        run_dir: the run, or a run of replicates.
        out: HTML file to write; by default report.html in the run.
        predictions: predictions to show in place of those of the run's validation set; see
            `evaluate.evaluate`, also for the following arguments.
        truth: measured values of `predictions`.
        dream: folder of the DREAM 2022 challenge's subset files.
        leaderboard: folder of the public leaderboard's ids.
        phase: of the scorecard.
        published: table of published scores.
        overwrite: whether `out` may be replaced.

    Raises:
        errors.UserError: not a run, an extra that is not installed, a file that exists, or
            arguments that do not go together.
    """
    if predictions is None and (truth is not None or dream or leaderboard):
        raise errors.UserError("truth, dream and leaderboard go with predictions.")
    path = Path(run_dir, rundir.REPORT) if out is None else Path(out)
    files.check_text_output(path, overwrite=overwrite)
    judge = challenge.load(dream, leaderboard, phase, published)
    sample = None
    if predictions is not None:
        pairs = judge.load(predictions, truth)
        sample = Sample(pairs, judge.score(pairs), judge.teams)
    write(Path(run_dir), path, sample, overwrite=overwrite)
    return path


@dataclasses.dataclass(frozen=True)
class Sample:
    """Predictions to show in place of those of the validation set.

    Attributes:
        pairs: predictions and measured values.
        card: their scorecard, if there is one.
        teams: published results, see `dream.read_published`.
    """

    pairs: pairing.Pairs
    card: dream2022.Scorecard | None = None
    teams: challenge.Teams = dataclasses.field(default_factory=dict)


def write(
    run_dir: Path, out: Path, sample: Sample | None = None, *, overwrite: bool = False
) -> None:
    """Writes the report of a run; see `report`.

    Raises:
        errors.UserError: not a run, an extra that is not installed, or a file that exists.
    """
    files.check_text_output(out, overwrite=overwrite)
    runs = _runs(run_dir)
    best = runs[0]
    validation = _validation(runs) if sample is None else []
    pairs = sample.pairs if sample else _mean(validation)
    intervals = _calibration(run_dir)
    records = _records(best.path)
    page.save(
        out,
        "report.html",
        overwrite=overwrite,
        version=camformer_tf.__version__,
        name=run_dir.resolve().name,
        statuses=_statuses(runs),
        best=best,
        runs=runs,
        replicated=bool(rundir.replicates(run_dir)),
        recipe=(best.path / rundir.RECIPE).read_text(encoding="utf-8"),
        records=records,
        findings=_findings(runs, records, pairs, intervals),
        curves=sections.curves(best.history, best.row.epoch),
        predictions=sections.predictions(pairs, is_validation=sample is None) if pairs else None,
        card=sections.scorecard(sample.card, sample.teams) if sample and sample.card else None,
        sizes=sections.sizes(validation),
        calibration=intervals,
        coverage=sections.coverage(intervals),
    )


# === The files of a run ===


@dataclasses.dataclass(frozen=True)
class _RunFiles:
    """What a run's files contain; `run` is None until the run is finished."""

    path: Path
    row: comparing.RunRow
    history: pd.DataFrame
    run: rundir.Run | None

    @property
    def status(self) -> str:
        epochs = wording.count(self.row.epochs, "epoch")
        if self.run:
            return f"finished after {epochs}: {self.run.stop_reason}"
        if files.is_locked(self.path):
            return f"still training, {epochs} done. This report shows the run so far."
        return (
            f"not finished: it was stopped or failed after {epochs}. `fit --resume` continues it. "
            "This report shows the run so far."
        )


def _runs(run_dir: Path) -> list[_RunFiles]:
    """Returns the run, or its replicates, the best first."""
    runs = []
    for row in comparing.compare([run_dir]).rows:
        path = Path(row.run)
        runs.append(_RunFiles(path, row, comparing.history(path), rundir.load_if_finished(path)))
    return runs


def _records(run: Path) -> manifest.Manifest | None:
    """Returns the manifest of the records that a run was trained on; older runs have none."""
    return manifest.read(run / rundir.RECORDS) if (run / rundir.RECORDS).is_file() else None


def _validation(runs: Sequence[_RunFiles]) -> list[pairing.Pairs]:
    """Returns the predictions of the validation set, of each run that has them.

    Raises:
        errors.UserError: runs that were validated on different sequences.
    """
    validation: list[pairing.Pairs] = []
    for run in runs:
        path = run.path / rundir.VAL_PREDICTIONS
        if path.is_file():
            validation.append(pairing.read(path))
            if validation[-1].sequences != validation[0].sequences:
                raise errors.UserError(
                    f"{path}: not the same sequences as {validation[0].table}, so these runs are "
                    "not replicates of each other."
                )
    return validation


def _mean(validation: Sequence[pairing.Pairs]) -> pairing.Pairs | None:
    """Returns the mean predictions of the replicates, if there are any."""
    if not validation:
        return None
    mean = np.mean([pairs.prediction for pairs in validation], axis=0)  # (M, N) → (N,)
    return dataclasses.replace(validation[0], prediction=mean)


def _calibration(run_dir: Path) -> calibrations.Calibration | None:
    path = run_dir / rundir.CALIBRATION
    if not path.is_file():
        return None
    from camformer_tf.model import calibrations  # imports Keras, which takes seconds

    return calibrations.load(path, rundir.replicates(run_dir) or [run_dir])


def _statuses(runs: Sequence[_RunFiles]) -> list[str]:
    """Returns the status of the run; of several, one line for all runs of the same status."""
    if len(runs) == 1:
        return [runs[0].status]
    statuses = dict.fromkeys(run.status for run in runs)
    return [
        f"{', '.join(run.path.name for run in runs if run.status == status)}: {status}"
        for status in statuses
    ]


def _findings(
    runs: Sequence[_RunFiles],
    records: manifest.Manifest | None,
    pairs: pairing.Pairs | None,
    intervals: calibrations.Calibration | None,
) -> list[findings.Finding]:
    """Returns all findings, in the order of the report's sections."""
    best, sentences = runs[0], []
    if best.row.epoch is not None:
        train = recipe.load(str(best.path / rundir.RECIPE)).train
        sentences += findings.from_history(best.history, train, best_epoch=best.row.epoch)
    scores = [run.row.score for run in runs if run.row.score is not None]
    if len(runs) > 1 and len(scores) == len(runs):
        sentences += findings.from_replicates(scores)
    if records:
        sentences += findings.from_records(records, records.examples("val"))
    if pairs:
        sentences += findings.from_predictions(pairs)
    if intervals:
        sentences += findings.from_calibration(intervals)
    return sentences

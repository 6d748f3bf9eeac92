"""A run, or a run of replicates, as one HTML page."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

import camformer_tf
from camformer_tf import errors, files, recipe, rundir
from camformer_tf.data import manifest
from camformer_tf.evaluation import compare, evaluate, findings
from camformer_tf.metrics import dream
from camformer_tf.model import calibration
from camformer_tf.pages import page, plot

_RESAMPLES = 200  # for the intervals of the scores
_EXTREMES = 10


@dataclasses.dataclass(frozen=True)
class Judged:
    """Predictions to show in place of the run's own of its validation set, with a scorecard and
    published results (see `dream.published`), if there are.
    """

    pairs: evaluate.Pairs
    card: dream.Scorecard | None = None
    teams: dict[str, dict[str, dict[str, float]]] = dataclasses.field(default_factory=dict)


def write(
    run_dir: Path, out: Path, judged: Judged | None = None, *, overwrite: bool = False
) -> None:
    """Writes the report of a run, whether it is finished or not.

    Raises:
        errors.UserError: no run, an extra that is not installed, or a file that is there already.
    """
    files.refuse_existing(out, overwrite=overwrite)
    runs = _runs(run_dir)
    best = runs[0]
    each = _validation(runs) if judged is None else []
    pairs = judged.pairs if judged else _mean(each)
    known = _calibration(run_dir)
    records = _records(best.run)
    seen: list[findings.Finding] = []
    if len(best.history):
        train = recipe.load(str(best.run / rundir.RECIPE)).train
        seen += findings.of_training(best.history, train, best_epoch=best.row.epoch)
    if len(runs) > 1 and all(one.row.score is not None for one in runs):
        seen += findings.of_replicates([one.row.score for one in runs])
    if records:
        seen += findings.of_records(records, records.examples("val"))
    if pairs:
        seen += findings.of_predictions(pairs)
    if known:
        seen += findings.of_calibration(known)
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
        recipe=(best.run / rundir.RECIPE).read_text(encoding="utf-8"),
        records=records,
        findings=seen,
        curves=_curves(best),
        shown=_shown(pairs, validation=judged is None) if pairs else None,
        card=_card(judged) if judged and judged.card else None,
        sizes=_sizes(each),
        calibration=known,
        coverage=_coverage(known),
    )


# === What is known of a run ===


@dataclasses.dataclass(frozen=True)
class _Run:
    run: Path
    row: compare.Row
    history: pd.DataFrame
    told: dict[str, object]  # run.json, where the run is finished

    @property
    def status(self) -> str:
        epochs = f"{self.row.epochs} epochs" if self.row.epochs != 1 else "1 epoch"
        if self.told:
            return f"finished after {epochs}: {self.told['stopped']}"
        if files.is_locked(self.run):
            return f"still training, {epochs} done. What follows is as far as it has come."
        return (
            f"not finished: it was stopped or failed after {epochs}. `fit --resume` goes on; what "
            "follows is as far as it has come."
        )


def _runs(run_dir: Path) -> list[_Run]:
    """Returns the run, or its replicates, the best first."""
    runs = []
    for row in compare.compare([run_dir]).rows:
        path = Path(row.run)
        told = path / rundir.RUN
        known = json.loads(told.read_text(encoding="utf-8")) if told.is_file() else {}
        runs.append(_Run(path, row, compare.history(path), known))
    return runs


def _records(run: Path) -> manifest.Manifest | None:
    """Returns the manifest of what the run was trained on; runs of older versions have none."""
    return manifest.read(run / rundir.RECORDS) if (run / rundir.RECORDS).is_file() else None


def _validation(runs: Sequence[_Run]) -> list[evaluate.Pairs]:
    """Returns the predictions of the validation set, of each run that has them."""
    found = []
    for one in runs:
        path = one.run / rundir.VAL_PREDICTIONS
        if path.is_file():
            found.append(evaluate.read(path))
            if found[-1].sequences != found[0].sequences:
                raise errors.UserError(
                    f"{path}: is not of the same sequences as {found[0].table}, so that they are "
                    "no replicates of one another."
                )
    return found


def _mean(each: list[evaluate.Pairs]) -> evaluate.Pairs | None:
    if not each:
        return None
    mean = np.mean([one.prediction for one in each], axis=0)
    return dataclasses.replace(each[0], prediction=mean)


def _calibration(run_dir: Path) -> calibration.Calibration | None:
    path = run_dir / rundir.CALIBRATION
    if not path.is_file():
        return None
    return calibration.load(path, rundir.replicates(run_dir) or [run_dir])


def _statuses(runs: Sequence[_Run]) -> list[str]:
    """Returns what has become of the runs; of several, those of one status together."""
    if len(runs) == 1:
        return [runs[0].status]
    known = dict.fromkeys(one.status for one in runs)
    return [
        f"{', '.join(one.run.name for one in runs if one.status == status)}: {status}"
        for status in known
    ]


# === Pictures and tables ===


def _curves(one: _Run) -> page.Picture | None:
    if not len(one.history):
        return None
    words = f"Loss and correlations against the epoch; the best epoch is {one.row.epoch}."
    return page.picture(plot.learning_curves(one.history, one.row.epoch), words)


def _shown(pairs: evaluate.Pairs, *, validation: bool) -> dict[str, object]:
    """Returns scores, pictures and tables of predictions beside measured values."""
    known = np.isfinite(pairs.prediction) & np.isfinite(pairs.expression)
    scores = evaluate.score_pairs(pairs, resamples=_RESAMPLES)
    y, p = pairs.expression[known], pairs.prediction[known]
    sequences = None
    if pairs.sequences:
        sequences = [s for s, good in zip(pairs.sequences, known, strict=True) if good]
    against = _properties(y, sequences)
    words = f"Measured against predicted values of {len(y):,} sequences."
    return {
        "what": "the validation set" if validation else Path(pairs.table).name,
        "scores": scores,
        "scatter": page.picture(plot.scatter(y, p), words),
        "residuals": page.picture(
            plot.residuals(y, p, against),
            f"Predicted less measured against {', '.join(against)}.",
        ),
        "extremes": _extremes(sequences, y, p) if sequences else None,
    }


def _properties(y: np.ndarray, sequences: list[str] | None) -> dict[str, np.ndarray]:
    """Returns name → values of the sequences, but for what is the same in all of them."""
    found = {"measured expression": y}
    if sequences:
        upper = [sequence.upper() for sequence in sequences]
        letters = [max(1, sum(map(s.count, "ACGT"))) for s in upper]
        gc = [(s.count("G") + s.count("C")) / n for s, n in zip(upper, letters, strict=True)]
        found |= {
            "GC, part of the letters": np.array(gc),
            "N in the sequence": np.array([s.count("N") for s in upper], float),
            "position where padding begins": np.array([len(s.rstrip("N")) for s in upper], float),
        }
    return {name: values for name, values in found.items() if values is y or np.ptp(values)}


def _extremes(sequences: list[str], y: np.ndarray, p: np.ndarray) -> dict[str, list[tuple]]:
    """Returns "worst" and "best" → rows of sequence, measured, predicted, and their difference."""
    order = np.argsort(-np.abs(p - y), kind="stable")
    return {
        name: [(sequences[i], float(y[i]), float(p[i]), float(p[i] - y[i])) for i in chosen]
        for name, chosen in (
            ("worst", order[:_EXTREMES]),
            ("best", order[::-1][:_EXTREMES]),
        )
    }


def _card(judged: Judged) -> dict[str, object]:
    """Returns the scorecard with its bars, and the places among published results."""
    card, teams = judged.card, judged.teams

    def place(value: float | None, metric: str, name: str) -> int | None:
        return dream.rank(value, [team[metric][name] for team in teams.values()])

    rows = [
        (
            name.replace("_", " "), one.n, one.pearson, place(one.pearson, "pearson", name),
            one.spearman, place(one.spearman, "spearman", name), one.weight,
        )
        for name, one in card.subsets.items()
    ]  # fmt: skip
    head = ["category", "sequences", "Pearson r", "place", "Spearman", "place", "weight"]
    if not teams:
        rows = [(*row[:3], row[4], row[6]) for row in rows]
        head = [name for name in head if name != "place"]
    return {
        "card": card,
        "head": head,
        "rows": rows,
        "teams": list(teams),
        "places": [
            place(card.score_pearson, "pearson", "score"),
            place(card.score_spearman, "spearman", "score"),
        ],
        "bars": page.picture(
            plot.scores(card, teams),
            "Pearson r of every subset, beside published results." if teams
            else "Pearson r of every subset.",
        ),
    }  # fmt: skip


def _sizes(each: list[evaluate.Pairs]) -> dict[str, object] | None:
    """Returns what replicates of one validation set come to, alone and together."""
    if len(each) < 2:
        return None
    predictions = np.array([one.prediction for one in each])
    known = np.isfinite(predictions).all(axis=0) & np.isfinite(each[0].expression)
    spread = predictions[:, known].std(axis=0, ddof=1)
    return {
        "spread": [float(v) for v in np.quantile(spread, [0.1, 0.5, 0.9])],
        "picture": page.picture(
            plot.ensemble_sizes(each[0].expression[known], predictions[:, known]),
            "r² and rho of the mean of replicates against how many there are.",
        ),
    }


def _coverage(known: calibration.Calibration | None) -> page.Picture | None:
    if known is None:
        return None
    words = "Coverage and width of intervals in each tenth of the sequences by expression."
    return page.picture(plot.coverage(known.band, known.deciles), words)

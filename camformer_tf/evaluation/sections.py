"""The sections of a run's report: scores, plots and tables as its template takes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from camformer_tf.evaluation import challenge, pairing, scoring
from camformer_tf.metrics import dream
from camformer_tf.pages import page, plot

if TYPE_CHECKING:
    from camformer_tf.model import calibrations

_RESAMPLES = 200  # for the intervals of the scores
_EXTREMES = 10


def curves(history: pd.DataFrame, best_epoch: int | None) -> page.Picture | None:
    """Returns the learning curves of a history.csv; None where there is no epoch yet."""
    if not len(history):
        return None
    words = f"Loss and correlations against the epoch; the best epoch is {best_epoch}."
    return page.picture(plot.learning_curves(history, best_epoch), words)


def predictions(pairs: pairing.Pairs, *, is_validation: bool) -> dict[str, Any]:
    """Returns scores, plots and tables of predictions beside measured values."""
    is_usable = np.isfinite(pairs.prediction) & np.isfinite(pairs.expression)  # (N,)
    scores = scoring.score_pairs(pairs, resamples=_RESAMPLES)
    y, p = pairs.expression[is_usable], pairs.prediction[is_usable]  # (n,)
    sequences = None
    if pairs.sequences:
        sequences = [s for s, usable in zip(pairs.sequences, is_usable, strict=True) if usable]
    properties = _properties(y, sequences)
    return {
        "title": "the validation set" if is_validation else Path(pairs.table).name,
        "scores": scores,
        "scatter": page.picture(
            plot.scatter(y, p), f"Measured against predicted values of {len(y):,} sequences."
        ),
        "residuals": page.picture(
            plot.residuals(y, p, properties),
            f"Predicted minus measured against {', '.join(properties)}.",
        ),
        "extremes": _extremes(sequences, y, p) if sequences else None,
    }


def _properties(y: np.ndarray, sequences: Sequence[str] | None) -> dict[str, np.ndarray]:
    """Returns name → values (n,) of the sequences, except those that all sequences share."""
    properties = {"measured expression": y}
    if sequences:
        upper = [sequence.upper() for sequence in sequences]
        letters = [max(1, sum(map(s.count, "ACGT"))) for s in upper]
        gc = [(s.count("G") + s.count("C")) / n for s, n in zip(upper, letters, strict=True)]
        properties |= {
            "GC fraction": np.array(gc),
            "number of N": np.array([s.count("N") for s in upper], float),
            "start of the padding": np.array([len(s.rstrip("N")) for s in upper], float),
        }
    return {name: values for name, values in properties.items() if values is y or np.ptp(values)}


def _extremes(
    sequences: Sequence[str], y: np.ndarray, p: np.ndarray
) -> dict[str, list[tuple[str, float, float, float]]]:
    """Returns "worst" and "best" → rows of sequence, measured, predicted, and their difference."""
    # stable, so that equal errors keep the order of the table
    order = np.argsort(-np.abs(p - y), kind="stable")  # (n,), the largest error first
    return {
        name: [(sequences[i], float(y[i]), float(p[i]), float(p[i] - y[i])) for i in indices]
        for name, indices in (
            ("worst", order[:_EXTREMES]),
            ("best", order[::-1][:_EXTREMES]),
        )
    }


def scorecard(card: dream.Scorecard, teams: challenge.Teams) -> dict[str, Any]:
    """Returns the scorecard with its bars, and its places among published results."""
    head = ["category", "sequences", "Pearson r", "place", "Spearman", "place", "weight"]
    ranks = challenge.places(card, teams)
    rows: list[tuple[Any, ...]] = [
        (
            name.replace("_", " "), subset.n,
            subset.pearson, ranks["pearson"][name],
            subset.spearman, ranks["spearman"][name], subset.weight,
        )
        for name, subset in card.subsets.items()
    ]  # fmt: skip
    if not teams:
        rows = [(*row[:3], row[4], row[6]) for row in rows]
        head = [name for name in head if name != "place"]
    words = "Pearson r of every subset"
    return {
        "card": card,
        "head": head,
        "rows": rows,
        "teams": list(teams),
        "places": [ranks["pearson"]["score"], ranks["spearman"]["score"]],
        "bars": page.picture(
            plot.scores(card, teams),
            f"{words}, beside published results." if teams else f"{words}.",
        ),
    }


def sizes(validation: Sequence[pairing.Pairs]) -> dict[str, Any] | None:
    """Returns the spread of replicates on one validation set, and the gain of their mean."""
    if len(validation) < 2:
        return None
    expression = validation[0].expression  # (N,)
    prediction = np.array([pairs.prediction for pairs in validation])  # (M, N)
    is_usable = np.isfinite(prediction).all(axis=0) & np.isfinite(expression)  # (N,)
    spread = prediction[:, is_usable].std(axis=0, ddof=1)  # (n,)
    figure = plot.ensemble_sizes(expression[is_usable], prediction[:, is_usable])
    return {
        "spread": [float(v) for v in np.quantile(spread, [0.1, 0.5, 0.9])],
        "picture": page.picture(
            figure, "r² and rho of the mean of replicates against their number."
        ),
    }


def coverage(intervals: calibrations.Calibration | None) -> page.Picture | None:
    """Returns the plot of the observed coverage; None without a calibration."""
    if intervals is None:
        return None
    words = "Coverage and width of intervals in each tenth of the sequences by expression."
    return page.picture(plot.coverage(intervals.band, intervals.deciles), words)

"""Findings: what deserves attention in a run, as sentences from its numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from camformer_tf import recipe, wording
from camformer_tf.data import manifest
from camformer_tf.evaluation import pairing

if TYPE_CHECKING:
    from camformer_tf.model import calibrations

# Thresholds: a smaller difference is not worth a sentence.
_RISE = 0.02  # of the validation loss, as a fraction of its minimum
_GAP = 0.1  # between training r and validation r
_NEAR_FRACTION = 0.05  # fraction of a split with near neighbours in training
_FEW_SEQUENCES = 1000  # validation sequences, at which r has a standard error of up to 0.03
_NARROW = 0.7  # standard deviation of the predictions, as a fraction of that of the measured values
_WIDE = 1.5  # the same
_SHIFT = 1.0  # between their means, in standard deviations of the measured values
_COVERAGE = 0.02


@dataclasses.dataclass(frozen=True)
class Finding:
    """An observation, and what to do about it."""

    observation: str
    advice: str


def from_history(
    history: pd.DataFrame, train: recipe.TrainConfig, *, best_epoch: int
) -> list[Finding]:
    """Returns the findings in a history.csv.

    Args:
        history: the table, one row per epoch.
        train: the recipe's section train.
        best_epoch: the epoch whose model was kept.
    """
    findings = []
    loss, epoch = history["val_loss"].to_numpy(), history["epoch"].to_numpy()  # (epochs,)
    lowest = int(np.argmin(loss))
    # One epoch after the lowest loss is not yet a trend.
    if len(loss) - lowest > 2 and loss[-1] > (1 + _RISE) * loss[lowest]:
        findings.append(
            Finding(
                f"validation loss rises after epoch {epoch[lowest]}, from {loss[lowest]:.4g} to "
                f"{loss[-1]:.4g}",
                "The network overfits. The model of the best epoch is kept; more dropout, weight "
                "decay or data may help.",
            )
        )
    # One cycle ends with the smallest learning rate, so its last epoch is usually the best.
    if best_epoch == epoch[-1] == train.epochs and train.schedule != "onecycle":
        findings.append(
            Finding(
                f"the last epoch, {best_epoch}, is the best",
                "Training may not have converged: raise train.epochs.",
            )
        )
    best = history[history["epoch"] == best_epoch].iloc[0]
    gap = best["train_pearson"] - best["val_pearson"]
    if gap > _GAP:
        findings.append(
            Finding(
                f"r is {gap:.2f} higher in training than in validation at the best epoch",
                "The network has partly memorized its training set. More dropout, weight decay or "
                "data may help.",
            )
        )
    is_undefined = history[["val_pearson", "val_spearman"]].isna().any(axis=1)
    undefined_epochs = history[is_undefined]["epoch"]
    if len(undefined_epochs):
        epochs = wording.count(len(undefined_epochs), "epoch")
        findings.append(
            Finding(
                f"correlations are undefined in {epochs}, first in epoch "
                f"{undefined_epochs.iloc[0]}",
                "All predictions had the same value. Lower train.learning_rate if this persists.",
            )
        )
    return findings


def from_records(records: manifest.Manifest, validation: int) -> list[Finding]:
    """Returns the findings in a manifest that bear on the scores of `validation` sequences."""
    findings = []
    if records.near_neighbours is None:
        findings.append(
            Finding(
                "near neighbours of validation sequences in the training set were not counted",
                "Scores are too high if there are many: build the records with --split-by family, "
                "or with the count.",
            )
        )
    else:
        for name, count in records.near_neighbours["in_training"].items():
            fraction = count / records.examples(name)
            if fraction > _NEAR_FRACTION:
                letters = wording.count(records.near_neighbours["mismatches"], "letter")
                findings.append(
                    Finding(
                        f"{fraction:.0%} of {name} have a neighbour within {letters} in the "
                        "training set",
                        "Scores on this split are higher than those on new sequences. Build the "
                        "records with --split-by family.",
                    )
                )
    if validation < _FEW_SEQUENCES:
        findings.append(
            Finding(
                f"only {validation:,} validation sequences",
                f"r and rho are uncertain by about {2 / np.sqrt(validation):.2f}, and so is the "
                "choice of the best epoch.",
            )
        )
    return findings


def from_predictions(pairs: pairing.Pairs) -> list[Finding]:
    """Returns the findings in predictions beside measured values."""
    findings = []
    is_usable = np.isfinite(pairs.prediction) & np.isfinite(pairs.expression)  # (N,)
    y, p = pairs.expression[is_usable], pairs.prediction[is_usable]  # (n,)
    if missing := int((~np.isfinite(pairs.prediction)).sum()):
        subject = f"{wording.count(missing, 'sequence')} {'has' if missing == 1 else 'have'}"
        findings.append(
            Finding(
                f"{subject} no prediction",
                "The table's column reason says why. Scores are those of the other sequences.",
            )
        )
    if not np.ptp(p):
        return [
            *findings,
            Finding("all predictions have the same value", "Correlations are undefined. Retrain."),
        ]
    if not np.ptp(y):
        return [
            *findings,
            Finding("all measured values are the same", "Correlations are undefined."),
        ]
    # in units of the standard deviation of the measured values
    spread, shift = p.std() / y.std(), (p.mean() - y.mean()) / y.std()
    if abs(shift) > _SHIFT or spread > _WIDE:
        findings.append(
            Finding(
                "predictions and measured values are on different scales: means "
                f"{p.mean():.3g} and {y.mean():.3g}, standard deviations {p.std():.3g} and "
                f"{y.std():.3g}",
                "r and rho are not affected; errors and residuals are meaningless. `calibrate "
                "--scale affine` maps predictions to the scale of the measured values.",
            )
        )
    elif spread < _NARROW:
        findings.append(
            Finding(
                f"the standard deviation of predictions is {spread:.0%} of that of measured values",
                "Any imperfect model predicts extremes closer to the mean (regression to the "
                "mean). Use predictions to rank sequences rather than as amounts.",
            )
        )
    return findings


def from_calibration(intervals: calibrations.Calibration) -> list[Finding]:
    """Returns the findings in the observed coverage of intervals."""
    findings, nominal = [], intervals.band.coverage
    check = intervals.held_out
    error = 2 * np.sqrt(nominal * (1 - nominal) / check.n)  # two standard errors
    if abs(check.coverage - nominal) > max(_COVERAGE, error):
        findings.append(
            Finding(
                f"observed coverage is {check.coverage:.1%}, nominal coverage {nominal:.0%}",
                "The sequences that the intervals were fitted on differ from those that they were "
                "measured on.",
            )
        )
    low = [
        i
        for i, tenth in enumerate(intervals.deciles, 1)
        if tenth.coverage < nominal - 2 * np.sqrt(nominal * (1 - nominal) / tenth.n) - _COVERAGE
    ]
    if low:
        tenths = ", ".join(map(str, low))
        findings.append(
            Finding(
                f"observed coverage is below nominal in these tenths by expression: {tenths}",
                "Nominal coverage is an average over all sequences, not a promise at each level of "
                "expression.",
            )
        )
    return findings


def from_replicates(scores: Sequence[float]) -> list[Finding]:
    """Returns the findings in the r + rho of replicates."""
    spread = max(scores) - min(scores)
    return [
        Finding(
            f"r + rho of {len(scores)} seeds ranges from {min(scores):.4f} to {max(scores):.4f}",
            f"A recipe change that moves r + rho by less than {spread:.4f} may be chance.",
        )
    ]

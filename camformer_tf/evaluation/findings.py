"""What a person should look at in a run: from its numbers to sentences."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from camformer_tf import recipe
from camformer_tf.data import manifest
from camformer_tf.evaluation import evaluate
from camformer_tf.model import calibration

# By how much something must differ to be worth a sentence.
_RISE = 0.02  # of the validation loss, a part of its least value
_GAP = 0.1  # between training's and validation's r
_NEAR = 0.05  # the part of a split with near neighbours in training
_FEW = 1000  # validation sequences, of which r has a standard error of up to 0.03
_SQUEEZED = 0.7  # the predictions' standard deviation as a part of the measured values'
_STRETCHED = 1.5  # the same
_SHIFT = 1.0  # between their means, in the measured values' standard deviations
_COVERAGE = 0.02


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was seen, and what to make of it."""

    seen: str
    advice: str


def of_training(
    history: pd.DataFrame, train: recipe.TrainConfig, *, best_epoch: int
) -> list[Finding]:
    """Returns what a history.csv shows.

    Args:
        train: how the recipe says to train.
        best_epoch: the one whose model was kept.
    """
    found = []
    loss, epoch = history["val_loss"].to_numpy(), history["epoch"].to_numpy()
    least = int(np.argmin(loss))
    if len(loss) - least > 2 and loss[-1] > (1 + _RISE) * loss[least]:
        found.append(
            Finding(
                f"validation loss rises after epoch {epoch[least]}, from {loss[least]:.4g} to "
                f"{loss[-1]:.4g}",
                "The network fits its training set ever closer. The model of the best epoch is "
                "kept; more dropout, weight decay or data may carry further.",
            )
        )
    if best_epoch == epoch[-1] == train.epochs and train.schedule != "onecycle":
        found.append(
            Finding(
                f"the last epoch, {best_epoch}, is the best",
                "Training may not have come to its end: allow more with train.epochs.",
            )
        )
    best = history[history["epoch"] == best_epoch].iloc[0]
    gap = best["train_pearson"] - best["val_pearson"]
    if gap > _GAP:
        found.append(
            Finding(
                f"r is {gap:.2f} higher in training than in validation at the best epoch",
                "The network has learnt its examples by heart in part. See above for what helps.",
            )
        )
    undefined = history[history[["val_pearson", "val_spearman"]].isna().any(axis=1)]["epoch"]
    if len(undefined):
        found.append(
            Finding(
                f"no correlation in {len(undefined)} epochs, the first of them {undefined.iloc[0]}",
                "All predictions were one value then. Lower train.learning_rate if it lasts.",
            )
        )
    return found


def of_records(known: manifest.Manifest, validation: int) -> list[Finding]:
    """Returns what a manifest shows about trusting the scores of `validation` sequences."""
    found = []
    if known.near_neighbours is None:
        found.append(
            Finding(
                "nobody counted neighbours of validation sequences in the training set",
                "Scores are too good if there are many: build the records with the count.",
            )
        )
    else:
        for name, count in known.near_neighbours["in_training"].items():
            part = count / known.examples(name)
            if part > _NEAR:
                found.append(
                    Finding(
                        f"{part:.0%} of {name} have a neighbour within "
                        f"{known.near_neighbours['mismatches']} letters in the training set",
                        "Scores on it are too good for new sequences. Build the records with "
                        "--split-by family.",
                    )
                )
    if validation < _FEW:
        found.append(
            Finding(
                f"only {validation:,} validation sequences",
                f"r and rho are uncertain by some {2 / np.sqrt(validation):.2f}, so is the choice "
                "of the best epoch.",
            )
        )
    return found


def of_predictions(pairs: evaluate.Pairs) -> list[Finding]:
    """Returns what predictions beside measured values show."""
    found = []
    known = np.isfinite(pairs.prediction) & np.isfinite(pairs.expression)
    y, p = pairs.expression[known], pairs.prediction[known]
    if missing := int((~np.isfinite(pairs.prediction)).sum()):
        found.append(
            Finding(
                f"{missing:,} sequences have no prediction",
                "The table's reasons say why. Scores are of the others.",
            )
        )
    if not np.ptp(p):
        return [
            *found,
            Finding("all predictions are one value", "No correlation is defined. Train anew."),
        ]
    if not np.ptp(y):
        return [*found, Finding("all measured values are one", "No correlation is defined.")]
    spread, shift = p.std() / y.std(), (p.mean() - y.mean()) / y.std()
    if abs(shift) > _SHIFT or spread > _STRETCHED:
        found.append(
            Finding(
                "predictions and measured values are on different scales: means "
                f"{p.mean():.3g} and {y.mean():.3g}, standard deviations {p.std():.3g} and "
                f"{y.std():.3g}",
                "r and rho do not mind; errors and residuals say nothing. `calibrate --scale "
                "affine` maps one to the other.",
            )
        )
    elif spread < _SQUEEZED:
        found.append(
            Finding(
                f"predictions spread {spread:.0%} as far as measured values do",
                "Extremes are drawn to the middle, as with any model that explains a part of what "
                "varies. Rank by them rather than read them as amounts.",
            )
        )
    return found


def of_calibration(known: calibration.Calibration) -> list[Finding]:
    """Returns what the measured coverage shows."""
    found, stated = [], known.band.coverage
    error = 2 * np.sqrt(stated * (1 - stated) / known.measured.n)
    if abs(known.measured.coverage - stated) > max(_COVERAGE, error):
        found.append(
            Finding(
                f"intervals hold {known.measured.coverage:.1%} of measured values, where "
                f"{stated:.0%} are stated",
                "What they were made from and what they were measured on differ.",
            )
        )
    off = [
        i
        for i, one in enumerate(known.deciles, 1)
        if one.coverage < stated - 2 * np.sqrt(stated * (1 - stated) / one.n) - _COVERAGE
    ]
    if off:
        tenths = ", ".join(map(str, off))
        found.append(
            Finding(
                f"intervals hold fewer than stated in these tenths by expression: {tenths}",
                "The stated coverage is one over all sequences, not at each level of expression.",
            )
        )
    return found


def of_replicates(scores: Sequence[float]) -> list[Finding]:
    """Returns what r + rho of replicates show."""
    spread = max(scores) - min(scores)
    return [
        Finding(
            f"r + rho of {len(scores)} seeds lie between {min(scores):.4f} and {max(scores):.4f}",
            f"A change of the recipe that moves r + rho by less than {spread:.4f} may be chance.",
        )
    ]

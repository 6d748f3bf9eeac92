"""Replicates as one prediction: its scale and its intervals, from examples that were held out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from camformer_tf import errors, progress, recipe
from camformer_tf.metrics import conformal
from camformer_tf.model import calibration, predict

_log = logging.getLogger(__name__)


def calibrate(
    models: Sequence[Path],
    source: Path,
    *,
    split: str | None = None,
    columns: dict[str, str] | None = None,
    coverage: float = 0.9,
    scale: str = "model",
    check: float = 0.5,
    seed: int = 42,
    batch_size: int = recipe.PREDICT_BATCH_SIZE,
    report: progress.Report = progress.silent,
) -> calibration.Calibration:
    """Returns the calibration of models on measured sequences that they were not trained on.

    The sequences are parted at random: a part `check` measures the coverage and does nothing else;
    with another scale, half of the rest fits it; what is left makes the intervals.

    Args:
        models, source, split, columns: see `predict.to_file`; the source has expressions.
        coverage: the probability with which an interval shall hold the measured value.
        scale: one of `calibration.SCALES`.

    Raises:
        errors.UserError: no expressions, or too few sequences.
    """
    expression, each = _predicted(models, source, split, columns, batch_size, report)
    order = np.random.default_rng(recipe.sub_seed(seed, "calibrate")).permutation(len(expression))
    checked = round(len(order) * check)
    fitting = (len(order) - checked) // 2 if scale != "model" else 0
    measuring, fitted, making = np.split(order, [checked, checked + fitting])
    if not len(measuring) or not len(making) or (scale != "model" and not len(fitted)):
        raise errors.UserError(
            f"{source}: {len(order)} measured sequences are too few to be parted in those that "
            "make intervals and those that measure them."
        )
    mapped = calibration.fit_scale(scale, each[:, fitted].mean(axis=0), expression[fitted])
    mean, spread = calibration.combine(each, mapped)
    try:
        band = conformal.band(
            expression[making], mean[making], None if spread is None else spread[making], coverage
        )
    except ValueError as error:
        raise errors.UserError(f"{source}: {error}.") from error
    ends = band.ends(mean, spread)
    judged = [values[measuring] for values in (expression, *ends)]
    return calibration.Calibration(
        members=calibration.fingerprints(predict.members(models)),
        scale=mapped,
        band=band,
        measured=conformal.measured(*judged),
        deciles=tuple(conformal.by_decile(*judged)),
    )


def _predicted(models, source, split, columns, batch_size, report):
    """Returns expression (N,) and the predictions of each model (M, N) of what can be read."""
    measured, found, unread = [], [], 0
    for rows, each in predict.in_parts(models, source, split, columns, batch_size):
        if rows.expressions is None:
            raise errors.UserError(f"{source}: has no expressions to calibrate with.")
        good = [i for i, reason in enumerate(rows.reasons) if not reason]
        unread += len(rows.reasons) - len(good)
        for i in good:
            try:
                measured.append(float(rows.expressions[i]))
            except ValueError:
                measured.append(float("nan"))
            if not np.isfinite(measured[-1]):
                raise errors.UserError(
                    f"{source}: sequence {len(measured) + unread} has the expression "
                    f"{rows.expressions[i]!r}, which is no finite number."
                )
        found.append(each[:, good])
        report("predicting", len(measured), 0)
    if unread:
        _log.warning(f"{unread:,} sequences cannot be read and are left out")
    if not measured:
        raise errors.UserError(f"{source}: no sequence to calibrate with.")
    return np.array(measured), np.concatenate(found, axis=1)

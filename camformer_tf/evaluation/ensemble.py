"""Calibration: the scale and the prediction intervals of models, from held-out sequences."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from camformer_tf import errors, files, progress, recipe, remote, rundir, wording
from camformer_tf.metrics import conformal
from camformer_tf.model import calibrations, inference, predict

_log = logging.getLogger(__name__)


def calibrate(
    models: files.PathLike | Sequence[files.PathLike],
    measured: files.PathLike,
    *,
    out: files.PathLike | None = None,
    split: str | None = None,
    sequence: str | None = None,
    expression: str | None = None,
    coverage: float = 0.9,
    scale: Literal["model", "affine", "isotonic"] = "model",
    check: float = 0.5,
    seed: int = recipe.TrainConfig.seed,
    batch_size: int = recipe.PREDICT_BATCH_SIZE,
    overwrite: bool = False,
    report: progress.Report | None = None,
) -> calibrations.Calibration:
    """Makes prediction intervals of models from measured sequences, and writes them.

    The sequences are split at random: a fraction `check` only measures the coverage; with a scale
    other than "model", half of the others fit the scale; the remaining ones make the intervals.

    Args:
        models: run directories, runs of replicates, .keras files or export directories.
        measured: sequences with expressions that no model was trained on; see
            `camformer_tf.predict`.
        out: file to write; by default calibration.json in the run, if there is one run.
        split: split of a records directory.
        sequence: column of the sequences, for a table with a header.
        expression: column of the expressions, for a table with a header.
        coverage: probability that an interval contains the measured value.
        scale: also map predictions to the scale of `measured`: by a straight line ("affine"), by a
            rising step curve ("isotonic"), or not at all ("model").
        check: fraction of the sequences that only measures the coverage.
        seed: seed of the split.
        batch_size: sequences per batch.
        overwrite: whether `out` may be replaced.
        report: progress; by default a bar in a notebook or terminal.

    Raises:
        errors.UserError: no expressions, too few sequences, or an `out` that exists.
    """
    names = [models] if isinstance(models, str | os.PathLike) else models
    paths = [Path(name) for name in names]
    path = _output(paths, out)
    files.check_text_output(path, overwrite=overwrite)
    if expression and not sequence:
        raise errors.UserError("expression goes with sequence: name both columns.")
    columns = {"sequence": sequence, "expression": expression}
    y, member_predictions = _predictions(
        paths,
        remote.path(measured),
        split=split,
        columns={role: name for role, name in columns.items() if name} or None,
        batch_size=batch_size,
        report=progress.auto(report),
    )  # (N,), (M, N)
    checking, fitting, making = _split(len(y), measured, scale=scale, check=check, seed=seed)
    mean = member_predictions[:, fitting].mean(axis=0)  # (fitting,)
    mapping = calibrations.fit_scale(scale, mean, y[fitting])
    mean, spread = calibrations.combine(member_predictions, mapping)  # (N,), (N,) or None
    try:
        making_spread = None if spread is None else spread[making]
        band = conformal.band(y[making], mean[making], making_spread, coverage)
    except ValueError as error:
        raise errors.UserError(f"{measured}: {error}.") from error
    lower, upper = band.ends(mean, spread)  # (N,), (N,)
    check_sample = [values[checking] for values in (y, lower, upper)]
    intervals = calibrations.Calibration(
        members=calibrations.fingerprints(inference.member_paths(paths)),
        scale=mapping,
        band=band,
        held_out=conformal.assess(*check_sample),
        deciles=tuple(conformal.by_decile(*check_sample)),
    )
    calibrations.save(intervals, path, overwrite=overwrite)
    return intervals


def default_output(models: Sequence[Path]) -> Path | None:
    """Returns where the calibration of models belongs: in the run, if they are one run."""
    if len(models) == 1 and models[0].is_dir():
        return models[0] / rundir.CALIBRATION
    return None


def _output(models: Sequence[Path], out: files.PathLike | None) -> Path:
    path = default_output(models) if out is None else Path(out)
    if path is None:
        raise errors.UserError("Name the file to write (out), unless there is one run.")
    return path


def _split(
    count: int, measured: files.PathLike, *, scale: str, check: float, seed: int
) -> list[np.ndarray]:
    """Returns the rows that check the coverage, that fit the scale and that make the intervals."""
    order = np.random.default_rng(recipe.sub_seed(seed, "calibrate")).permutation(count)
    # The three groups are disjoint: a band that is measured on the sequences that made it, or
    # made from those that fitted the scale, would look better than it is.
    checking = round(count * check)
    fitting = (count - checking) // 2 if scale != "model" else 0
    groups = np.split(order, [checking, checking + fitting])
    if not len(groups[0]) or not len(groups[2]) or (scale != "model" and not len(groups[1])):
        sequences = "1 measured sequence is" if count == 1 else f"{count} measured sequences are"
        raise errors.UserError(
            f"{measured}: {sequences} too few to be split into those that make intervals and those "
            "that measure their coverage."
        )
    return groups


def _predictions(
    models: Sequence[Path],
    source: remote.AnyPath,
    *,
    split: str | None,
    columns: dict[str, str] | None,
    batch_size: int,
    report: progress.Report,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns expression (N,) and each model's predictions (M, N) of the readable sequences."""
    expressions: list[float] = []
    blocks, unreadable = [], 0
    model = inference.Model(inference.load_members(models, batch_size))
    for rows, block in predict.member_predictions(model, source, split, columns):  # block (M, B)
        if rows.expressions is None:
            raise errors.UserError(f"{source}: has no expressions to calibrate with.")
        readable = [i for i, reason in enumerate(rows.reasons) if not reason]
        unreadable += len(rows.reasons) - len(readable)
        for i in readable:
            expressions.append(_number(rows.expressions[i]))
            if not np.isfinite(expressions[-1]):
                raise errors.UserError(
                    f"{source}: sequence {len(expressions) + unreadable} has the expression "
                    f"{rows.expressions[i]!r}, which is not a finite number."
                )
        blocks.append(block[:, readable])  # (M, readable)
        report("predicting", len(expressions), 0)
    if unreadable:
        subject = wording.count(unreadable, "sequence")
        _log.warning(f"{subject} cannot be read and will not be used")
    if not expressions:
        raise errors.UserError(f"{source}: no sequence to calibrate with.")
    return np.array(expressions), np.concatenate(blocks, axis=1)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")

"""Predictions beside measured values: from files, tables or arrays."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from camformer_tf import errors, files, wording
from camformer_tf.data import predictions, rules, text

Values = np.ndarray | pd.Series | Sequence[float]  # (N,), missing values as NaN or None
Predictions = files.PathLike | pd.DataFrame | Values
Truth = files.PathLike | Values

_TABLE, _ARRAY, _TRUTH = "the table", "the predictions", "the measured values"  # in messages


@dataclasses.dataclass(frozen=True)
class Pairs:
    """N predictions and measured values, and where they come from.

    Attributes:
        table, truth: the two sources, as messages name them.
        expression, prediction: float64 (N,), NaN where there is no value.
        sequences: the N sequences, or None where the sources do not have them.
    """

    table: str
    truth: str
    expression: np.ndarray
    prediction: np.ndarray
    sequences: list[str] | None = None


def load(source: Predictions, truth: Truth | None = None) -> Pairs:
    """Returns predictions with their measured values.

    Args:
        source: the path of a table that `predict` wrote or of the challenge's JSON (position →
            prediction); a DataFrame with a column `prediction`, optionally `expression` and
            `sequence`; or N numbers.
        truth: the path of a text with a line `SEQUENCE<TAB>EXPRESSION` for each prediction, in the
            same order; or N numbers. Without it, the table's own column `expression`.

    Raises:
        errors.UserError: a file that cannot be read, rows that do not match, or no measured values.
    """
    if isinstance(source, str | os.PathLike):
        if truth is None or isinstance(truth, str | os.PathLike):
            return read(Path(source), None if truth is None else Path(truth))
        pairs = _read_predictions(Path(source))
    elif isinstance(source, pd.DataFrame):
        pairs = _from_frame(source)
    else:
        prediction = _numbers(source, _ARRAY)  # (N,)
        # an empty `truth` marks pairs without measured values
        pairs = Pairs(_ARRAY, "", np.full(len(prediction), np.nan), prediction)
    if truth is not None:
        pairs = _with_truth(pairs, truth)
    elif not pairs.truth:
        raise errors.UserError(
            f"{pairs.table}: no measured values. Add a column expression, or pass truth."
        )
    return pairs


def read(table_path: Path, truth_path: Path | None = None) -> Pairs:
    """Returns the predictions of a file with their measured values; see `load`.

    Raises:
        errors.UserError: a file that cannot be read, rows that do not match, or no measured values.
    """
    if table_path.suffix == ".json":
        if truth_path is None:
            raise errors.UserError(
                f"{table_path}: holds positions only. Name the measured values: camformer-tf "
                f"evaluate {table_path} TRUTH"
            )
        sequences, expression = _read_truth(truth_path)
        prediction = read_json(table_path, len(sequences))
        return Pairs(str(table_path), str(truth_path), expression, prediction, sequences)
    table = predictions.read(table_path)
    if truth_path is not None:
        _, expression = _read_truth(truth_path, table.sequences, table.prediction)
    elif table.expression is not None:
        expression, truth_path = table.expression, table_path
    else:
        raise errors.UserError(
            f"{table_path}: has no expression column. Name the measured values: "
            f"camformer-tf evaluate {table_path} TRUTH"
        )
    names = str(table_path), str(truth_path)
    return Pairs(*names, expression, table.prediction, table.sequences)


def read_json(path: Path, rows: int) -> np.ndarray:
    """Returns the predictions of the challenge's JSON, float64 (rows,), NaN where there is none.

    Raises:
        errors.UserError: a position beyond the rows, or a value that is not a number.
    """
    prediction = np.full(rows, np.nan)  # (rows,)
    for key, value in predictions.read_json(path).items():
        if not key.isdecimal() or int(key) >= rows:
            raise errors.UserError(
                f"{path}: position {key!r} is not one of {wording.count(rows, 'row')}."
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise errors.UserError(f"{path}: position {key} has {value!r}, which is not a number.")
        prediction[int(key)] = value
    return prediction


def _read_predictions(path: Path) -> Pairs:
    """Returns the predictions of a table without a truth file."""
    if path.suffix == ".json":
        raise errors.UserError(f"{path}: holds positions only: pass truth as the path of a text.")
    table = predictions.read(path)
    expression = np.full(len(table.prediction), np.nan)  # (N,)
    return Pairs(str(path), "", expression, table.prediction, table.sequences)


def _from_frame(frame: pd.DataFrame) -> Pairs:
    if "prediction" not in frame:
        columns = ", ".join(map(str, frame.columns)) or "none"
        raise errors.UserError(f"{_TABLE}: expected a column prediction, found {columns}.")
    prediction = _numbers(frame["prediction"], f"{_TABLE}, column prediction")
    expression, truth = np.full(len(prediction), np.nan), ""  # (N,)
    if "expression" in frame:
        expression, truth = _numbers(frame["expression"], f"{_TABLE}, column expression"), _TABLE
    sequences = frame["sequence"].astype(str).tolist() if "sequence" in frame else None
    return Pairs(_TABLE, truth, expression, prediction, sequences)


def _with_truth(pairs: Pairs, truth: Truth) -> Pairs:
    """Returns pairs with the measured values of a text or of an array."""
    if isinstance(truth, str | os.PathLike):
        _, expression = _read_truth(Path(truth), pairs.sequences, pairs.prediction)
        return dataclasses.replace(pairs, truth=str(truth), expression=expression)
    expression = _numbers(truth, _TRUTH)  # (N,)
    if len(expression) != len(pairs.prediction):
        raise errors.UserError(
            f"{_TRUTH}: {wording.count(len(expression), 'value')} for "
            f"{wording.count(len(pairs.prediction), 'prediction')}. "
            "Pass one value for each prediction, in the same order."
        )
    return dataclasses.replace(pairs, truth=_TRUTH, expression=expression)


def _numbers(values: Values, name: str) -> np.ndarray:
    """Returns values as float64 (N,), None as NaN."""
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise errors.UserError(f"{name}: not numbers ({error}).") from error
    if array.ndim == 2 and array.shape[1] == 1:  # as keras.Model.predict returns them
        array = array[:, 0]  # (N, 1) → (N,)
    if array.ndim != 1:
        raise errors.UserError(f"{name}: expected one number a row, found shape {array.shape}.")
    return array


def _read_truth(
    path: Path, sequences: list[str] | None = None, prediction: np.ndarray | None = None
) -> tuple[list[str], np.ndarray]:
    """Returns the sequences and the expression (N,) of a text.

    Args:
        path: the text.
        sequences: the predictions' sequences, which must be those of the text, row for row.
        prediction: float64 (N,); a line that cannot be read is NaN where there is no prediction
            either, and an error elsewhere.
    """
    names: list[str] = []
    values: list[float] = []
    for block in text.Source(path).blocks():
        for number, line in enumerate(block.read().split(b"\n"), block.first):
            if fields := line.split():  # blank lines are skipped, as `predict` does
                reason, row = rules.malformed(fields), len(values)
                is_unpredicted = (
                    prediction is not None and np.isnan(prediction[row : row + 1]).any()
                )
                if reason and not is_unpredicted:
                    raise errors.UserError(f"{path}:{number}: {reason}.")
                names.append(fields[0].decode("utf-8", "replace"))
                values.append(np.nan if reason else float(fields[1]))
    rows = len(names) if prediction is None else len(prediction)
    if len(names) != rows:
        raise errors.UserError(
            f"{path}: has {wording.count(len(names), 'row')}, the predictions have {rows:,}. "
            "Give the text that was predicted."
        )
    for row, pair in enumerate(zip(names, sequences or names, strict=True), 1):
        if pair[0].upper() != pair[1].upper():  # letter case has no meaning
            raise errors.UserError(
                f"{path}: row {row} is {pair[0][:40]}…, but the predictions have "
                f"{pair[1][:40]}…. Give the text that was predicted, in the same order."
            )
    return names, np.array(values)

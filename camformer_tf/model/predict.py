"""Predictions of text, FASTA, tables and records, a part at a time, and the table of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from camformer_tf import progress
from camformer_tf.data import predictions, rows
from camformer_tf.model import inference


def member_predictions(
    predictor: inference.Model,
    source: Path,
    split: str | None = None,
    columns: dict[str, str] | None = None,
) -> Iterator[tuple[rows.Rows, np.ndarray]]:
    """Yields the rows of a source, a part at a time, and what each of M members predicts.

    The predictions are float64 (M, N), NaN where a sequence cannot be read. Arguments and errors
    are those of `to_file`.
    """
    for part in rows.from_source(source, split, columns, predictor.rule):
        yield predictor.member_predictions(part)


def to_file(
    predictor: inference.Model,
    source: Path,
    out: Path,
    *,
    kind: str = "tsv",
    split: str | None = None,
    columns: dict[str, str] | None = None,
    keys: Path | None = None,
    report: progress.Report = progress.silent,
) -> int:
    """Writes a predictions table, one row for each input row in order, and returns their number.

    Args:
        predictor: the model; see `inference.Model` for its columns.
        source: text (`SEQUENCE` or `SEQUENCE EXPRESSION` a line), FASTA, a .csv or .tsv table with
            a header, or a records directory.
        out: the table to write; a row that the model cannot read gets an empty prediction and a
            reason.
        kind: see `predictions.writer`.
        split: the split of a records directory.
        columns: see `rows.read`; by default as the header names them.
        keys: a JSON of the challenge, whose keys are the rows to write as dream-json.
        report: receives the progress.

    Raises:
        errors.UserError: an unreadable input, or an `out` that exists.
    """
    parts = rows.from_source(source, split, columns, predictor.rule)
    return predictions.save(map(predictor.answer, parts), source, out, kind, keys, report)

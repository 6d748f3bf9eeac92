"""Predictions of text, FASTA, tables and records as a table, by local models and servers."""

from __future__ import annotations

from collections.abc import Sequence

from camformer_tf import errors, files, progress, recipe, remote
from camformer_tf.client import connection, engine
from camformer_tf.client import load as loading
from camformer_tf.data import predictions, rows


def predict(
    models: files.PathLike | Sequence[files.PathLike],
    source: files.PathLike,
    out: files.PathLike,
    *,
    format: str | None = None,
    split: str | None = None,
    sequence: str | None = None,
    expression: str | None = None,
    keys: files.PathLike | None = None,
    calibration: files.PathLike | None = None,
    batch_size: int = recipe.PREDICT_BATCH_SIZE,
    precision: str = "float32",
    concurrency: int = engine.CONCURRENCY,
    timeout: float = connection.TIMEOUT,
    overwrite: bool = False,
    report: progress.Report | None = None,
) -> int:
    """Writes a table of predictions, one row for each input row in order; returns their number.

    With several models, the prediction is their mean, and `spread` their standard deviation (of a
    sample, n - 1). With a calibration, both are on its scale, and `lower` and `upper` are the ends
    of its intervals. A row that the model cannot read has no prediction, and a reason.

    Args:
        models: one or several paths or URLs: see `load`.
        source: text (`SEQUENCE` or `SEQUENCE EXPRESSION` a line), FASTA, a .csv or .tsv table with
            a header, `-` for standard input, or a records directory.
        out: the table to write; `-` is standard output.
        format: tsv, csv, parquet or dream-json; by default from the suffix of `out`.
        split: the split to predict, if the source is a records directory.
        sequence: the column of sequences, for a table with a header.
        expression: the column of expressions, for a table with a header; they are copied.
        keys: a JSON of the DREAM challenge, whose keys are the rows to write as dream-json.
        calibration: see `load`.
        batch_size: see `load`.
        precision: see `load`.
        concurrency: see `load`.
        timeout: see `load`.
        overwrite: whether `out` is replaced if it exists.
        report: receives the progress; by default a bar in a notebook or terminal.

    Raises:
        errors.UserError: a model or a source that cannot be read, or an `out` that exists.
    """
    if expression and not sequence:
        raise errors.UserError("a column of expressions needs the column of sequences, too.")
    source_path, out_path = remote.path(str(source)), remote.path(str(out))
    files.check_text_output(out_path, overwrite=overwrite)  # before a model is loaded
    names = {"sequence": sequence, "expression": expression}
    columns = {role: name for role, name in names.items() if name} or None
    model = loading.load(
        models,
        calibration=calibration,
        batch_size=batch_size,
        precision=precision,
        concurrency=concurrency,
        timeout=timeout,
    )
    parts = rows.from_source(source_path, split, columns, model.rule)
    return predictions.save(
        map(model.answer, parts),
        source_path,
        out_path,
        format,
        remote.path(str(keys)) if keys else None,
        progress.auto(report),
        overwrite=overwrite,
    )

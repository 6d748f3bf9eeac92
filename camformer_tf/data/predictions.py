"""The table that connects prediction and evaluation: predictions.tsv, and its other formats."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TextIO

import numpy as np

from camformer_tf import errors, files, progress, remote, wording
from camformer_tf.data import rows, tables

KINDS = ("tsv", "csv", "parquet", "dream-json")

_SUFFIXES = tables.FORMATS | {".json": "dream-json"}
_SHOWN_REASONS = 5
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Table:
    """N predictions that were read, in row order.

    Attributes:
        sequences: N sequences.
        prediction: float64 (N,), NaN where a row has none.
        expression: float64 (N,), NaN where a row has none; None without such a column.
    """

    sequences: list[str]
    prediction: np.ndarray
    expression: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class PredictedRows:
    """N rows to write, in order. A column that is None is not written.

    Attributes:
        sequence: N sequences.
        prediction: float32 (N,), NaN where there is none.
        expression: the measured values, as in the input.
        spread: float32 (N,), the spread of an ensemble.
        lower: float32 (N,), the lower end of the interval.
        upper: float32 (N,), the upper end of the interval.
        name: the names that FASTA gives.
        reason: why a sequence has no prediction, or None.
    """

    sequence: list[str]
    prediction: np.ndarray
    expression: list[str] | None = None
    spread: np.ndarray | None = None
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None
    name: list[str] | None = None
    reason: list[str | None] | None = None

    def columns(self) -> dict[str, tables.Column]:
        """Returns the columns to write: name → values."""
        columns = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: values for name, values in columns.items() if values is not None}


def save(
    answers: Iterable[tuple[rows.Rows, Mapping[str, np.ndarray]]],
    source: remote.AnyPath,
    out: remote.AnyPath,
    kind: str | None = None,
    keys: remote.AnyPath | None = None,
    report: progress.Report = progress.silent,
    *,
    overwrite: bool = False,
) -> int:
    """Writes what models predict for the rows of a source, and returns the number of rows.

    Args:
        answers: rows, and for them `expression`, perhaps `spread`, `lower` and `upper`, (N,) each.
        source: where the rows come from.
        out: the file to write; `-` is standard output.
        kind: see `writer`.
        keys: a JSON of the challenge, whose keys are the rows to write as dream-json.
        report: receives the number of rows.
        overwrite: whether to replace `out`.

    Raises:
        errors.UserError: there are no rows, `out` exists, or keys are given for another kind.
    """
    kind = kind or kind_of_file(out)
    if keys and kind != "dream-json":
        raise errors.UserError(f"{keys}: keys are for dream-json alone, not for {kind}.")
    selection = None if keys is None else list(read_json(keys))
    is_records = source.is_dir()
    count, failures, examples = 0, 0, []
    with writer(out, kind, keys=selection, overwrite=overwrite) as write:
        for block, values in answers:
            # Records hold only readable sequences, so their table has no column of reasons.
            reasons = None if is_records else block.reasons
            failed_rows = [i for i, reason in enumerate(block.reasons) if reason]
            write(
                PredictedRows(
                    block.sequences,
                    values["expression"],
                    block.expressions,
                    values.get("spread"),
                    values.get("lower"),
                    values.get("upper"),
                    block.names,
                    reasons,
                )
            )
            examples += [
                f"  row {count + i + 1}: {block.reasons[i]}" for i in failed_rows[:_SHOWN_REASONS]
            ]
            count, failures = count + len(block.sequences), failures + len(failed_rows)
            report("predicting", count, 0)
        if not count:
            raise errors.UserError(f"{source}: no sequence to predict.")
    if failures:
        _log.warning(
            "%d of %s cannot be read and %s no prediction; the first:\n%s",
            failures,
            wording.count(count, "sequence"),
            "has" if failures == 1 else "have",
            "\n".join(examples[:_SHOWN_REASONS]),
        )
    return count


def kind_of_file(path: remote.AnyPath) -> str:
    """Returns the kind that the suffix of a file stands for: tsv unless it names another."""
    return files.table_format(path, _SUFFIXES, "tsv")


@contextlib.contextmanager
def writer(
    path: remote.AnyPath,
    kind: str | None = None,
    *,
    keys: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Iterator[Callable[[PredictedRows], None]]:
    """Yields a function that writes blocks of rows, all with the same columns.

    The file takes its name when the block of code ends without an error. Memory is that of one
    block of rows.

    Args:
        path: the file; `-` is standard output.
        kind: one of `KINDS`; by default the suffix decides (.csv, .parquet, .json; else tsv).
        keys: for "dream-json", the rows to write, as the challenge's sample names them.
        overwrite: whether to replace the file.

    Raises:
        errors.UserError: the file exists, an extra is not installed, Parquet is to go to standard
            output, or a key is not a row.
    """
    kind = kind or kind_of_file(path)
    if kind == "dream-json":
        with (
            files.text_output(path, overwrite=overwrite) as file,
            _dream_json(file, keys) as write_json,
        ):
            yield write_json
        return
    with tables.writer(path, kind, numeric=["expression"], overwrite=overwrite) as write:
        yield lambda block: write(block.columns())


@contextlib.contextmanager
def _dream_json(
    file: TextIO, keys: Sequence[str] | None
) -> Iterator[Callable[[PredictedRows], None]]:
    """Yields a function that writes row → prediction as the challenge does, null where missing."""
    count = 0
    values: dict[str, str] = {}

    def write(block: PredictedRows) -> None:
        nonlocal count
        for value in block.prediction.astype(np.float32):
            text = "null" if np.isnan(value) else str(value)
            if keys is None:
                file.write(f'{", " if count else ""}"{count}": {text}')
            else:
                values[str(count)] = text
            count += 1

    file.write("{")
    yield write
    if keys is not None:
        if absent := [key for key in keys if key not in values]:
            raise errors.UserError(
                f"{len(absent):,} of the {wording.count(len(keys), 'key')} "
                f"{'is not a row' if len(absent) == 1 else 'are not rows'}, the first is "
                f"{absent[0]!r}: there are {wording.count(count, 'prediction')}. "
                "Predict the whole test file."
            )
        file.write(", ".join(f'"{key}": {values[key]}' for key in keys))
    file.write("}\n")


def read_json(path: remote.AnyPath) -> dict[str, Any]:
    """Returns the object of a JSON of the challenge; its keys are rows.

    Raises:
        errors.UserError: the file cannot be read, or is not such a JSON.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise errors.UserError(f"{path}: cannot be read ({error}).") from error
    if not isinstance(content, dict):
        raise errors.UserError(f'{path}: expected {{"position": value, …}}.')
    return content


def read(path: remote.AnyPath) -> Table:
    """Returns the table in a tsv file.

    Raises:
        errors.UserError: the file cannot be read, lacks a column, or has a value that is not a
            number.
    """
    try:
        first, *lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.UserError(f"{path}: cannot be read ({error}).") from error
    header = first.split("\t")
    for name in ("sequence", "prediction"):
        if name not in header:
            raise errors.UserError(
                f"{path}:1: expected a header with the columns sequence and prediction, found "
                f"{'<TAB>'.join(header)[:80]!r}. `camformer-tf predict` writes such a table."
            )
    # The number of a line in the file → its fields; the header is line 1.
    table = {number: line.split("\t") for number, line in enumerate(lines, 2) if line}
    for number, row in table.items():
        if len(row) != len(header):
            raise errors.UserError(
                f"{path}:{number}: expected {wording.count(len(header), 'column')}, "
                f"found {len(row)}. "
                "Was the file cut short?"
            )
    place = header.index("sequence")
    return Table(
        [row[place] for row in table.values()],
        _numbers(table, header.index("prediction"), path, "prediction"),
        _numbers(table, header.index("expression"), path, "expression")
        if "expression" in header
        else None,
    )


def _numbers(
    table: dict[int, list[str]], place: int, path: remote.AnyPath, name: str
) -> np.ndarray:
    """Returns one column of a table as numbers: float64 (N,), NaN for an empty field."""
    values = []
    for number, row in table.items():
        try:
            values.append(float(row[place]) if row[place] else np.nan)
        except ValueError:
            raise errors.UserError(
                f"{path}:{number}: {name} {row[place]!r} is not a number."
            ) from None
    return np.array(values, np.float64)

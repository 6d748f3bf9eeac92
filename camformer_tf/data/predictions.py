"""The one table between predicting and judging: predictions.tsv, and other forms of it."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from camformer_tf import errors, files, progress
from camformer_tf.data import rows

KINDS = ("tsv", "csv", "parquet", "dream-json")

_SHOWN_REASONS = 5
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Table:
    """N predictions in row order: sequences; prediction float64 (N,), NaN where the row has none;
    expression float64 (N,) or None.
    """

    sequences: list[str]
    prediction: np.ndarray
    expression: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Part:
    """N rows to write, in order: sequences; prediction float32 (N,), NaN where there is none; and
    what else is known of them. A column that is None is not written.
    """

    sequence: list[str]
    prediction: np.ndarray
    expression: list[str] | None = None
    spread: np.ndarray | None = None
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None
    name: list[str] | None = None
    reason: list[str | None] | None = None

    def columns(self) -> dict[str, list | np.ndarray]:
        """Returns name → values of those that are known."""
        columns = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: values for name, values in columns.items() if values is not None}


def save(
    answers: Iterable[tuple[rows.Rows, Mapping[str, np.ndarray]]],
    source: Path,
    out: Path,
    kind: str = "tsv",
    keys: Path | None = None,
    report: progress.Report = progress.silent,
) -> int:
    """Writes what models say of the rows of a source as a table, and returns the number of rows.

    Args:
        answers: rows, and of them `expression`, perhaps `spread`, `lower` and `upper`, (N,) each.
        kind: see `writer`.
        keys: a JSON of the challenge, whose keys are the rows to write as dream-json.

    Raises:
        errors.UserError: no rows, an `out` that exists, or keys for another kind.
    """
    if keys and kind != "dream-json":
        raise errors.UserError(f"{keys}: keys are for dream-json alone, found {kind}.")
    wanted = None if keys is None else list(read_json(keys))
    count, failed, shown = 0, 0, []
    with writer(out, kind, keys=wanted) as write:
        for part, found in answers:
            reasons = None if source.is_dir() else part.reasons
            bad = [i for i, reason in enumerate(part.reasons) if reason]
            write(
                Part(part.sequences, found["expression"], part.expressions, found.get("spread"),
                     found.get("lower"), found.get("upper"), part.names, reasons)
            )  # fmt: skip
            shown += [f"  row {count + i + 1}: {part.reasons[i]}" for i in bad[:_SHOWN_REASONS]]
            count, failed = count + len(part.sequences), failed + len(bad)
            report("predicting", count, 0)
        if not count:
            raise errors.UserError(f"{source}: no sequence to predict.")
    if failed:
        _log.warning(
            "%d of %d sequences cannot be read and have no prediction; the first:\n%s",
            failed, count, "\n".join(shown[:_SHOWN_REASONS]),
        )  # fmt: skip
    return count


@contextlib.contextmanager
def writer(
    path: Path, kind: str = "tsv", *, keys: Sequence[str] | None = None, overwrite: bool = False
) -> Iterator[Callable[[Part], None]]:
    """Yields a function that writes parts, all with the same columns; the file takes its name when
    the block ends well. Memory is that of a part.

    Args:
        kind: one of `KINDS`.
        keys: for "dream-json", the rows to write, as the challenge's sample names them.

    Raises:
        errors.UserError: the file is there already, an extra that is not installed, or keys that
            are no rows.
    """
    with files.new_file(path, overwrite=overwrite) as temporary:
        if kind == "parquet":
            with _parquet(temporary) as write:
                yield write
            return
        with temporary.open("w", encoding="utf-8", newline="") as file:
            if kind == "dream-json":
                with _dream_json(file, keys) as write:
                    yield write
            else:
                yield _delimited(file, kind)


def _delimited(file: TextIO, kind: str) -> Callable[[Part], None]:
    """float32 in the fewest digits that give them back exactly, NaN as an empty field."""
    started = False
    table = csv.writer(file, lineterminator="\n")

    def write(part: Part) -> None:
        nonlocal started
        columns = part.columns()
        fields = [_fields(values) for values in columns.values()]
        rows = ([tuple(columns)] if not started else []) + list(zip(*fields, strict=True))
        started = True
        if kind == "csv":
            table.writerows(rows)
        else:
            file.writelines("\t".join(row) + "\n" for row in rows)

    return write


def _fields(values: list | np.ndarray) -> list[str]:
    if isinstance(values, np.ndarray):
        return ["" if value != value else str(value) for value in values.astype(np.float32)]
    return [value or "" for value in values]


@contextlib.contextmanager
def _parquet(path: Path) -> Iterator[Callable[[Part], None]]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise errors.UserError(
            'Parquet needs pyarrow: pip install "camformer-tf[parquet]", or write tsv.'
        ) from error
    with contextlib.ExitStack() as stack:
        table = None

        def write(part: Part) -> None:
            nonlocal table
            columns = {}
            for name, values in part.columns().items():
                if name == "expression":
                    columns[name] = pa.array(_measured(values), pa.float64())
                elif isinstance(values, np.ndarray):
                    columns[name] = pa.array(values.astype(np.float32), from_pandas=True)
                else:
                    columns[name] = pa.array(values, pa.string())
            made = pa.table(columns)
            if table is None:
                table = stack.enter_context(parquet.ParquetWriter(path, made.schema))
            table.write_table(made)

        yield write


def _measured(values: list[str]) -> list[float | None]:
    try:
        return [float(value) if value else None for value in values]
    except ValueError as error:
        raise errors.UserError(
            f"an expression is no number ({error}), as a column of Parquet must be. Write tsv."
        ) from error


@contextlib.contextmanager
def _dream_json(file: TextIO, keys: Sequence[str] | None) -> Iterator[Callable[[Part], None]]:
    """Row → prediction as the challenge has it, null where there is none."""
    count, held = 0, {}

    def text_of(value: np.float32) -> str:
        return "null" if value != value else str(value)

    def write(part: Part) -> None:
        nonlocal count
        for value in part.prediction.astype(np.float32):
            if keys is None:
                file.write(f'{", " if count else ""}"{count}": {text_of(value)}')
            else:
                held[str(count)] = text_of(value)
            count += 1

    file.write("{")
    yield write
    if keys is not None:
        if absent := [key for key in keys if key not in held]:
            raise errors.UserError(
                f"{len(absent):,} of the {len(keys):,} keys asked for are no rows, the first "
                f"{absent[0]!r}: there are {count:,} predictions. Predict the whole test file."
            )
        file.write(", ".join(f'"{key}": {held[key]}' for key in keys))
    file.write("}\n")


def read_json(path: Path) -> dict:
    """Returns the object of a JSON of the challenge: its keys are rows.

    Raises:
        errors.UserError: it is no such file.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise errors.UserError(f"{path}: cannot be read ({error}).") from error
    if not isinstance(found, dict):
        raise errors.UserError(f'{path}: expected {{"position": value, …}}.')
    return found


def read(path: Path) -> Table:
    """Returns the table at a path.

    Raises:
        errors.UserError: no such file, a missing column, or a value that is no number.
    """
    try:
        first, *rest = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.UserError(f"{path}: cannot be read ({error}).") from error
    header = first.split("\t")
    for name in ("sequence", "prediction"):
        if name not in header:
            raise errors.UserError(
                f"{path}:1: expected a header with the columns sequence and prediction, found "
                f"{'<TAB>'.join(header)[:80]!r}. `camformer-tf predict` writes such a table."
            )
    table = {number: line.split("\t") for number, line in enumerate(rest, 2) if line}
    for number, row in table.items():
        if len(row) != len(header):
            raise errors.UserError(
                f"{path}:{number}: expected {len(header)} columns, found {len(row)}. "
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


def _numbers(table: dict[int, list[str]], place: int, path: Path, name: str) -> np.ndarray:
    values = []
    for number, row in table.items():
        try:
            values.append(float(row[place]) if row[place] else np.nan)
        except ValueError:
            raise errors.UserError(
                f"{path}:{number}: {name} {row[place]!r} is not a number."
            ) from None
    return np.array(values, np.float64)

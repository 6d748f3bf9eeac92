"""Tables as text with tabs or commas, or as Parquet, written one block of rows after another."""

from __future__ import annotations

import contextlib
import csv
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from camformer_tf import errors, files, remote

FORMATS = {".csv": "csv", ".parquet": "parquet"}  # suffix → format; any other suffix: tsv

Column = Sequence[str | None] | np.ndarray  # text, or float32 (N,)
Write = Callable[[Mapping[str, Column]], None]  # writes one block of rows: name → column


@contextlib.contextmanager
def writer(
    path: remote.AnyPath,
    table_format: str,
    *,
    header: bool = True,
    numeric: Collection[str] = (),
    overwrite: bool = False,
) -> Iterator[Write]:
    """Yields a function that writes blocks of rows, all with the same columns.

    The file takes its name when the block of code ends without an error. Memory is that of one
    block of rows. In text, float32 have the fewest digits that give them back exactly; NaN and None
    are empty fields. In Parquet they are null.

    Args:
        path: the file; `-` is standard output.
        table_format: "tsv", "csv" or "parquet".
        header: whether text begins with the names of the columns.
        numeric: columns of text that Parquet stores as float64.
        overwrite: whether to replace the file.

    Raises:
        errors.UserError: the file exists, Parquet is to go to standard output or its extra is not
            installed, or a column of `numeric` has a field that is not a number.
    """
    if table_format == "parquet":
        if path == files.STANDARD_OUTPUT:
            raise errors.UserError(
                "-: Parquet is not text, so it does not go to standard output. Name a file."
            )
        with (
            files.new_file(path, overwrite=overwrite) as temporary,
            _parquet(temporary, numeric) as write,
        ):
            yield write
        return
    with files.text_output(path, overwrite=overwrite) as file:
        yield _text(file, table_format, header)


def _text(file: TextIO, table_format: str, header: bool) -> Write:
    """Returns a function that writes rows as text."""
    table = csv.writer(file, lineterminator="\n")
    is_first = header

    def write(columns: Mapping[str, Column]) -> None:
        nonlocal is_first
        rows: Iterable[tuple[str, ...]] = zip(*map(_fields, columns.values()), strict=True)
        if is_first:
            rows = itertools.chain([tuple(columns)], rows)
            is_first = False
        if table_format == "csv":
            table.writerows(rows)
        else:
            file.writelines(f"{line}\n" for line in map("\t".join, rows))

    return write


def _fields(column: Column) -> Iterable[str]:
    """Returns the fields of a column as text."""
    if not isinstance(column, np.ndarray):
        return (value or "" for value in column)
    values = column.astype(np.float32)  # str() of a float32 has the fewest digits
    if not np.isnan(values).any():
        return map(str, values)
    return ["" if np.isnan(value) else str(value) for value in values]


@contextlib.contextmanager
def _parquet(path: Path, numeric: Collection[str]) -> Iterator[Write]:
    """Yields a function that writes rows to a Parquet file."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise errors.UserError(
            'Parquet needs pyarrow: pip install "camformer-tf[parquet]", or write tsv.'
        ) from error
    with contextlib.ExitStack() as stack:
        file: Any = None

        def array(name: str, column: Column) -> Any:
            if isinstance(column, np.ndarray):
                return pa.array(column.astype(np.float32), from_pandas=True)  # NaN → null
            if name in numeric:
                return pa.array(_numbers(name, column), pa.float64())
            return pa.array(column, pa.string())

        def write(columns: Mapping[str, Column]) -> None:
            nonlocal file
            table = pa.table({name: array(name, column) for name, column in columns.items()})
            if file is None:
                file = stack.enter_context(parquet.ParquetWriter(path, table.schema))
            file.write_table(table)

        yield write


def _numbers(name: str, column: Sequence[str | None]) -> list[float | None]:
    """Returns the fields of a column of text as numbers."""
    try:
        return [float(value) if value else None for value in column]
    except ValueError as error:
        raise errors.UserError(
            f"column {name}: {error}. A column of Parquet holds numbers alone. Write tsv."
        ) from error

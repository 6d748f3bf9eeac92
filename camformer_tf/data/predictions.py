"""The one table between predicting and judging: predictions.tsv."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

import numpy as np

from camformer_tf import errors


@dataclasses.dataclass(frozen=True)
class Table:
    """N predictions in row order: sequences; prediction float64 (N,), NaN where the row has none;
    expression float64 (N,) or None."""

    sequences: list[str]
    prediction: np.ndarray
    expression: np.ndarray | None


def write_header(out: TextIO, *, with_expression: bool) -> None:
    """Writes the first line."""
    out.write("sequence\tprediction" + "\texpression" * with_expression + "\n")


def write_rows(
    out: TextIO,
    sequences: Iterable[str],
    prediction: np.ndarray,
    expressions: Iterable[str] | None,
) -> None:
    """Writes a line a row; float32 predictions in the fewest digits that give them back exactly,
    NaN as an empty field."""
    values = ["" if value != value else str(value) for value in prediction.astype(np.float32)]
    columns = [sequences, values] if expressions is None else [sequences, values, expressions]
    out.writelines("\t".join(row) + "\n" for row in zip(*columns, strict=True))


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

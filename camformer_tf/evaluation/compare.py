"""Several runs in one table: how good each is, and which recipe values differ."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd
import yaml

import camformer_tf
from camformer_tf import errors, files, rundir, wording
from camformer_tf.pages import page, plot

_MAX_BLOCK_KEYS = 4  # columns of model.blocks that a terminal shows
_HEADINGS = {"run": "run", "score": "r + rho", "pearson": "r", "spearman": "rho", "epoch": "epoch"}
_FORMATS = {".csv": "csv", ".tsv": "tsv", ".json": "json", ".parquet": "parquet"}


@dataclasses.dataclass(frozen=True)
class RunRow:
    """A run at its best epoch on the validation set; None where a value is not known.

    Attributes:
        status: "finished", "unfinished" (at its best epoch so far) or "no epoch yet".
        score: r + rho.
        values: dotted recipe key → value.
    """

    run: str
    status: str
    epoch: int | None
    epochs: int
    score: float | None
    pearson: float | None
    spearman: float | None
    loss: float | None
    parameters: int | None
    sequences_per_second: float | None
    values: dict[str, Any]


@dataclasses.dataclass(frozen=True, repr=False)
class Comparison:
    """Runs, the best first, and the recipe keys whose values differ."""

    rows: list[RunRow]
    keys: list[str]

    def __repr__(self) -> str:
        return self.summary()

    def records(self) -> list[dict[str, Any]]:
        """Returns one dict per run: its scores, then the recipe values that differ."""
        records = []
        for row in self.rows:
            record = {field.name: getattr(row, field.name) for field in dataclasses.fields(RunRow)}
            del record["values"]  # only those that differ follow
            records.append(record | {key: row.values.get(key) for key in self.keys})
        return records

    def table(self) -> pd.DataFrame:
        """Returns the same as a table with one row per run."""
        return pd.DataFrame(self.records())

    def summary(self) -> str:
        """Returns the table for a person, without values of `model.blocks` if many differ."""
        block_keys = [key for key in self.keys if key.startswith("model.blocks.")]
        hidden = block_keys if len(block_keys) > _MAX_BLOCK_KEYS else []
        keys = [key for key in self.keys if key not in hidden]
        table = [[*_HEADINGS.values(), *keys]]
        for record in self.records():
            cells = [record[name] for name in _HEADINGS] + [record[key] for key in keys]
            if record["status"] != "finished":
                cells[0] = f"{cells[0]} ({record['status']})"
            table.append([_cell(cell) for cell in cells])
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in table
        ]
        if hidden:
            values = wording.count(len(hidden), "value")
            lines.append(f"model.blocks differs in {values}, which --out writes")
        return "\n".join(lines)


def compare(
    runs: files.PathLike | Sequence[files.PathLike],
    *,
    out: files.PathLike | None = None,
    html: files.PathLike | None = None,
    overwrite: bool = False,
) -> Comparison:
    """Returns runs beside each other, the best first; a run of replicates counts as its runs.

    Args:
        runs: run directories.
        out: file to write the table to: .csv, .tsv, .json or .parquet; "-" is standard output.
        html: HTML page to write, with a plot (extra `report`).
        overwrite: whether `out` and `html` may be replaced.

    Raises:
        errors.UserError: a path that is not a run, a file that exists, or an extra that is not
            installed.
    """
    paths = [runs] if isinstance(runs, str | os.PathLike) else runs
    for path in (out, html):
        if path is not None:
            files.check_text_output(Path(path), overwrite=overwrite)
    rows = []
    for path in map(Path, paths):
        rows += [_row(run) for run in rundir.replicates(path) or [path]]
    # parameters follow from other values, so they are not compared
    keys = sorted({key for row in rows for key in row.values if not key.startswith("expect.")})
    # values may be lists, which are compared as JSON
    differing = [key for key in keys if len({json.dumps(r.values.get(key)) for r in rows}) > 1]
    rows.sort(key=lambda row: float("-inf") if row.score is None else row.score, reverse=True)
    comparison = Comparison(rows, differing)
    if out is not None:
        _save(comparison, Path(out), overwrite=overwrite)
    if html is not None:
        _save_page(comparison, Path(html), overwrite=overwrite)
    return comparison


def history(run: Path) -> pd.DataFrame:
    """Returns a run's history.csv; a table without rows where there is no epoch yet."""
    path = run / rundir.HISTORY
    return pd.read_csv(path) if path.is_file() and path.stat().st_size else pd.DataFrame()


def _save(comparison: Comparison, path: Path, *, overwrite: bool) -> None:
    """Writes the table in the format of the path's suffix, CSV by default."""
    table_format = files.table_format(path, _FORMATS, "csv")
    if table_format == "parquet":
        with files.new_file(path, overwrite=overwrite) as temporary:
            _write_parquet(comparison, temporary)
        return
    with files.text_output(path, overwrite=overwrite) as file:
        if table_format == "json":
            file.write(json.dumps(comparison.records(), indent=2, allow_nan=False) + "\n")
        else:
            _write_delimited(comparison, file, "," if table_format == "csv" else "\t")


def _write_delimited(comparison: Comparison, file: TextIO, separator: str) -> None:
    records = comparison.records()
    table = csv.DictWriter(file, list(records[0]), delimiter=separator, lineterminator="\n")
    table.writeheader()
    table.writerows(records)


def _write_parquet(comparison: Comparison, path: Path) -> None:
    """Writes the table; recipe values are JSON texts, since one key may have several types."""
    table = comparison.table()
    for key in comparison.keys:
        table[key] = [json.dumps(row.values.get(key)) for row in comparison.rows]
    try:
        table.to_parquet(path, engine="pyarrow", index=False)
    except ImportError as error:
        raise errors.UserError(
            'Parquet needs pyarrow: pip install "camformer-tf[parquet]", or write .csv.'
        ) from error


def _save_page(comparison: Comparison, path: Path, *, overwrite: bool) -> None:
    columns = [
        *(*_HEADINGS, "status", "loss", "parameters", "sequences_per_second"),
        *comparison.keys,
    ]
    names = [row.run for row in comparison.rows]
    r = [row.pearson for row in comparison.rows]
    rho = [row.spearman for row in comparison.rows]
    page.save(
        path,
        "compare.html",
        overwrite=overwrite,
        version=camformer_tf.__version__,
        head=[_HEADINGS.get(name, name.replace("_", " ")) for name in columns],
        rows=[[record[name] for name in columns] for record in comparison.records()],
        picture=page.picture(plot.runs(names, r, rho), "r and rho of every run, the best first."),
    )


def _row(path: Path) -> RunRow:
    try:
        values = _flat(yaml.safe_load((path / rundir.RECIPE).read_text(encoding="utf-8")))
        epochs = history(path)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise errors.UserError(
            f"{path}: not a run ({error}). Expected a run directory of `camformer-tf fit`."
        ) from error
    run = rundir.load_if_finished(path)
    best = None
    if len(epochs):
        total = epochs[["val_pearson", "val_spearman"]].sum(axis=1)  # (epochs,); undefined counts 0
        best = epochs.assign(score=total).iloc[int(np.argmax(total))]

    def number(column: str) -> float | None:
        return None if best is None or pd.isna(best[column]) else float(best[column])

    status = "unfinished" if best is not None else "no epoch yet"
    return RunRow(
        run=str(path),
        status="finished" if run else status,
        epoch=None if best is None else int(best["epoch"]),
        epochs=len(epochs),
        score=number("score"),
        pearson=number("val_pearson"),
        spearman=number("val_spearman"),
        loss=number("val_loss"),
        parameters=run.parameters if run else None,
        sequences_per_second=run.sequences_per_second if run else None,
        values=values,
    )


def _flat(values: object, prefix: str = "") -> dict[str, Any]:
    """Returns nested values by dotted keys, as `--set` takes them."""
    if isinstance(values, dict):
        pairs: Any = values.items()
    elif isinstance(values, list) and any(isinstance(value, dict | list) for value in values):
        pairs = enumerate(values)
    else:
        return {prefix.removesuffix("."): values}
    return {k: v for key, value in pairs for k, v in _flat(value, f"{prefix}{key}.").items()}


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) and abs(value) >= 0.01 else str(value)

"""Several runs in one table: how good each is, and in which values of the recipe they differ."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml

import camformer_tf
from camformer_tf import errors, files, rundir
from camformer_tf.pages import page, plot

_MOST_BLOCK_KEYS = 4  # that a terminal shows
_SHOWN = {"run": "run", "score": "r + rho", "pearson": "r", "spearman": "rho", "epoch": "epoch"}


@dataclasses.dataclass(frozen=True)
class Row:
    """A run at its best epoch, by the validation set. `status` is "finished", "unfinished"
    (its best so far) or "no epoch yet"; what is not known is None. `values`: recipe key → value.
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
    values: dict[str, object]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Runs, the best first, and the keys of the recipe in which they differ."""

    rows: list[Row]
    keys: list[str]

    def table(self) -> list[dict[str, object]]:
        """Returns a dict a run: what is known of it, then the values that differ."""
        rows = []
        for row in self.rows:
            known = {f.name: getattr(row, f.name) for f in dataclasses.fields(Row)}
            del known["values"]
            rows.append(known | {key: row.values.get(key) for key in self.keys})
        return rows

    def summary(self) -> str:
        """Returns the table for a person; networks that differ in many values are left to the
        CSV.
        """
        blocks = [key for key in self.keys if key.startswith("model.blocks.")]
        left = blocks if len(blocks) > _MOST_BLOCK_KEYS else []
        keys = [key for key in self.keys if key not in left]
        head = [*_SHOWN.values(), *keys]
        lines = [head]
        for row in self.table():
            cells = [row[name] for name in _SHOWN] + [row[key] for key in keys]
            if row["status"] != "finished":
                cells[0] = f"{cells[0]} ({row['status']})"
            lines.append([_cell(cell) for cell in cells])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        told = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        if left:
            told.append(f"model.blocks differs in {len(left)} values, which --out writes")
        return "\n".join(told)


def compare(paths: Sequence[Path]) -> Comparison:
    """Returns runs beside each other; a run of replicates is each of its runs.

    Raises:
        errors.UserError: a path that is no run.
    """
    rows = []
    for path in paths:
        rows += [_row(run) for run in rundir.replicates(path) or [path]]
    keys = sorted({key for row in rows for key in row.values if not key.startswith("expect.")})
    differing = [key for key in keys if len({json.dumps(r.values.get(key)) for r in rows}) > 1]
    worst = float("-inf")
    rows.sort(key=lambda row: worst if row.score is None else row.score, reverse=True)
    return Comparison(rows, differing)


def save(found: Comparison, path: Path) -> None:
    """Writes the table as CSV."""
    rows = found.table()
    with files.new_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as f:
        table = csv.DictWriter(f, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def save_page(found: Comparison, path: Path) -> None:
    """Writes the table with a picture as one HTML file.

    Raises:
        errors.UserError: an extra that is not installed, or the file is there already.
    """
    files.refuse_existing(path)
    rows = found.table()
    columns = [*_SHOWN, "status", "loss", "parameters", "sequences_per_second", *found.keys]
    names, r, rho = zip(*((row.run, row.pearson, row.spearman) for row in found.rows), strict=True)
    picture = page.picture(plot.runs(names, r, rho), "r and rho of every run, the best first.")
    page.save(
        path,
        "compare.html",
        version=camformer_tf.__version__,
        head=[_SHOWN.get(name, name.replace("_", " ")) for name in columns],
        rows=[[row[name] for name in columns] for row in rows],
        picture=picture,
    )


def _row(path: Path) -> Row:
    try:
        values = _flat(yaml.safe_load((path / rundir.RECIPE).read_text(encoding="utf-8")))
        epochs = history(path)
        told = path / rundir.RUN
        known = json.loads(told.read_text(encoding="utf-8")) if told.is_file() else {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise errors.UserError(
            f"{path}: is no run ({error}). Expected a run directory of `camformer-tf fit`."
        ) from error
    best = None
    if len(epochs):
        total = epochs[["val_pearson", "val_spearman"]].sum(axis=1)  # undefined counts 0
        best = epochs.assign(score=total).loc[total.idxmax()]

    def at(column: str) -> float | None:
        return None if best is None or pd.isna(best[column]) else float(best[column])

    unfinished = "unfinished" if best is not None else "no epoch yet"
    return Row(
        run=str(path),
        status="finished" if known else unfinished,
        epoch=None if best is None else int(best["epoch"]),
        epochs=len(epochs),
        score=at("score"),
        pearson=at("val_pearson"),
        spearman=at("val_spearman"),
        loss=at("val_loss"),
        parameters=known.get("parameters"),
        sequences_per_second=known.get("sequences_per_second"),
        values=values,
    )


def history(run: Path) -> pd.DataFrame:
    """Returns a run's history.csv; no row where there is no epoch yet."""
    path = run / rundir.HISTORY
    return pd.read_csv(path) if path.is_file() and path.stat().st_size else pd.DataFrame()


def _flat(values: object, prefix: str = "") -> dict[str, object]:
    """Returns nested values by dotted keys, as `--set` takes them."""
    if isinstance(values, dict):
        pairs = values.items()
    elif isinstance(values, list) and any(isinstance(value, dict | list) for value in values):
        pairs = enumerate(values)
    else:
        return {prefix.removesuffix("."): values}
    return {k: v for key, value in pairs for k, v in _flat(value, f"{prefix}{key}.").items()}


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) and abs(value) >= 0.01 else str(value)

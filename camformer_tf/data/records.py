"""Record sets: build one from text, look into it, read a split, export it to a table."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from camformer_tf import errors, files, progress, recipe, remote, schema, wording
from camformer_tf.data import build, manifest, rules, tables
from camformer_tf.data import sequence as sequences
from camformer_tf.data import shards as record_shards
from camformer_tf.data import text as texts

if TYPE_CHECKING:
    import pandas as pd

_ROWS_PER_BLOCK = 1 << 14  # examples turned into text per round
_CONFIG, _RULE = recipe.RecordsConfig, rules.Rule


def build_records(
    text: files.PathLike | Sequence[files.PathLike],
    out_dir: files.PathLike,
    *,
    sequence: str | None = None,
    expression: str | None = None,
    weight: str | None = None,
    split: str = _CONFIG.split,
    split_by: str = _CONFIG.split_by,
    split_column: str | None = None,
    seed: int = _CONFIG.seed,
    length: int = _RULE.length,
    length_margin: int = _RULE.length_margin,
    max_n: int = _RULE.max_n,
    keep_all: bool = _RULE.keep_all,
    on_malformed: str = _CONFIG.on_malformed,
    shards: int = _CONFIG.shards,
    compression: str = _CONFIG.compression,
    mismatches: int = _CONFIG.mismatches,
    leakage: bool = _CONFIG.leakage,
    workers: int = _CONFIG.workers,
    overwrite: bool = False,
    report: progress.Report | None = None,
) -> manifest.Manifest:
    """Builds a record set from text and returns its manifest.

    The set is written beside `out_dir` and takes that name when it is whole. The same text, options
    and seed give the same bytes with any number of workers. Memory is bounded except for about 25
    bytes per kept line. The search for near neighbours takes about 250 bytes per line outside
    training (and per training line that shares a piece with such a line); a family split takes 110
    bytes per line.

    Args:
        text: one file of `SEQUENCE<TAB>EXPRESSION` lines, or several; .gz is unpacked, "-" is
            standard input, gs://… is read there.
        out_dir: the folder of the set.
        sequence: for tables with a header, the column of sequences.
        expression: for tables with a header, the column of expressions.
        weight: for tables with a header, the column of weights, 0 or more.
        split: the splits and their fractions.
        split_by: "random" (exact counts), "stratified" (and even over tenths of the expression),
            "hash" (of the sequence, stable when the library grows), "family" (near sequences stay
            together) or "column" (the table names the split).
        split_column: for split_by="column", the column that names the split.
        seed: the seed of the split.
        length: the length of the sequences in the set; they are cut or padded with N on the right.
        length_margin: lengths further than this from `length` are dropped.
        max_n: sequences with more N than this are dropped.
        keep_all: whether sequences of every length are kept.
        on_malformed: "error" (a malformed line refuses the text) or "skip" (it is left out).
        shards: files per split, at most one per example.
        compression: "none" or "gzip".
        mismatches: letters in which near sequences may differ.
        leakage: whether to count the sequences outside training with a near one in training.
        workers: processes. A script that asks for more than one needs the usual
            `if __name__ == "__main__":`.
        overwrite: whether to replace a set.
        report: receives the progress; by default a bar in a notebook or terminal.

    Raises:
        errors.UserError: the text cannot be read, is malformed or empty; a split cannot be filled;
            `out_dir` exists; or an option has a value out of its range.
    """
    roles = {"sequence": sequence, "expression": expression, "weight": weight}
    columns = {role: name for role, name in [*roles.items(), ("split", split_column)] if name}
    if columns and not (sequence and expression):
        raise errors.UserError("--sequence-column and --expression-column go together: give both.")
    rule = {"length": length, "length_margin": length_margin, "max_n": max_n, "keep_all": keep_all}
    options = {
        "split": split,
        "split_by": split_by,
        "seed": seed,
        "shards": shards,
        "on_malformed": on_malformed,
        "compression": compression,
        "workers": workers,
        "mismatches": mismatches,
        "leakage": leakage,
    }
    text_files = [text] if isinstance(text, str | os.PathLike) else text
    return build.build(
        [remote.path(path) for path in text_files],
        remote.path(out_dir),
        schema.parse(rule, rules.Rule, "build_records"),
        schema.parse(options, recipe.RecordsConfig, "build_records"),
        columns or None,
        overwrite,
        progress.auto(report),
    )


@dataclasses.dataclass(frozen=True, repr=False)
class Inspection:
    """What is in a record set, shown as a summary and the first examples.

    Attributes:
        records_dir: the folder of the set.
        manifest: the description of the set.
        examples: the first examples of each split: the columns split, sequence, expression and, in
            a set with weights, weight; None if `head` was 0.
    """

    records_dir: str
    manifest: manifest.Manifest
    examples: pd.DataFrame | None = None

    def __repr__(self) -> str:
        lines = [f"{self.records_dir}: {self.manifest.summary()}"]
        if self.examples is not None:
            columns = [map(str, self.examples[name].to_numpy()) for name in self.examples]
            lines += map("\t".join, zip(*columns, strict=True))
        return "\n".join(lines)

    def to_json(self) -> str:
        """Returns manifest.json as it is, with the examples as a list under `examples` if any."""
        text = (remote.path(self.records_dir) / manifest.FILE).read_text(encoding="utf-8")
        if self.examples is None:
            return text
        columns = [map(_plain, self.examples[name].to_numpy()) for name in self.examples]
        rows = [dict(zip(self.examples, row, strict=True)) for row in zip(*columns, strict=True)]
        return json.dumps(json.loads(text) | {"examples": rows}, indent=2) + "\n"


def _plain(value: Any) -> str | float:
    """Returns a value for JSON: a float32 with the fewest digits that give it back."""
    return float(str(value)) if isinstance(value, np.floating) else str(value)


def inspect_records(records_dir: files.PathLike, *, head: int = 0) -> Inspection:
    """Returns what is in a record set: its manifest, and the first examples of each split.

    Args:
        records_dir: the folder of the set.
        head: how many examples of each split.

    Raises:
        errors.UserError: the folder is not a record set, or a shard is broken.
    """
    folder = remote.path(records_dir)
    description = manifest.load(folder)
    if not head:
        return Inspection(str(folder), description)
    import pandas as pd  # here, since a summary does without it

    frames = [
        pd.DataFrame({"split": name, **_columns(read(folder, name, head))})
        for name in description.splits
    ]
    return Inspection(str(folder), description, pd.concat(frames, ignore_index=True))


def export_records(
    records_dir: files.PathLike,
    out: files.PathLike,
    *,
    split: str | None = None,
    overwrite: bool = False,
    report: progress.Report | None = None,
) -> int:
    """Writes the examples of a record set as a table, and returns their number.

    The suffix of `out` decides: .csv gives commas and a header, .parquet Parquet, any other
    `SEQUENCE<TAB>EXPRESSION` lines, from which the set can be built again. A set with weights has a
    third column, and a header in every format. Numbers have the fewest digits that give the float32
    back.

    Args:
        records_dir: the folder of the set.
        out: the file; "-" is standard output.
        split: one split; by default all of them, one after another.
        overwrite: whether to replace the file.
        report: receives the progress; by default a bar in a notebook or terminal.

    Raises:
        errors.UserError: the set is broken, has no such split, or `out` exists.
    """
    folder, target, report = remote.path(records_dir), remote.path(out), progress.auto(report)
    description, count = manifest.load(folder), 0
    names = [split] if split else list(description.splits)
    total = sum(description.examples(name) for name in names if name in description.splits)
    table_format = files.table_format(target, tables.FORMATS, "tsv")
    header = table_format == "csv" or description.weight is not None
    with tables.writer(target, table_format, header=header, overwrite=overwrite) as write:
        for name in names:
            examples = read(folder, name)
            for start in range(0, len(examples.expression), _ROWS_PER_BLOCK):
                block = _columns(examples, slice(start, start + _ROWS_PER_BLOCK))
                write(block)
                count += len(block["sequence"])
                report("exporting", count, total)
    return count


def read(folder: remote.AnyPath, split: str, first: int | None = None) -> texts.Examples:
    """Returns the examples of a split, in the order of its text.

    Args:
        folder: the folder of the set.
        split: the name of the split.
        first: how many examples to read, from the beginning; all by default.

    Raises:
        errors.UserError: there is no such split, or a shard differs from the manifest.
    """
    description = manifest.load(folder)
    if split not in description.splits:
        raise errors.UserError(
            f"{folder}: has no split {split!r}. Its splits: {', '.join(description.splits)}."
        )
    shard_files, shape = description.splits[split]["shards"], description.layout
    size = sum(shard["examples"] for shard in shard_files)
    count = size if first is None else min(first, size)
    letters = np.empty((count, description.sequence_length), np.uint8)  # (N, L)
    expression = np.empty(count, np.float32)
    weight = np.empty(count, np.float32) if shape.weight else None
    # Example i lies in shard i modulo their count.
    for index, shard in enumerate(shard_files):
        places = slice(index, None, len(shard_files))
        path, share = folder / shard["file"], len(expression[places])
        data = record_shards.read_bytes(path)
        if count < size:  # the first examples of the split are the first of each shard
            data = data[: share * record_shards.record_bytes(shape)]
        part = record_shards.parse(data, shape, str(path))
        if len(part.expression) != share:
            raise errors.UserError(
                f"{path}: holds {wording.count(len(part.expression), 'example')}, but the manifest "
                f"says {shard['examples']:,}. {record_shards.REBUILD}"
            )
        letters[places], expression[places] = part.letters, part.expression
        if weight is not None:
            weight[places] = part.weight
    return texts.Examples(letters, expression, weight)


def read_expression(folder: remote.AnyPath, split: str) -> np.ndarray:
    """Returns the expressions of a split alone, one shard after another: float32 (N,).

    No more than one shard is in memory at once.

    Raises:
        errors.UserError: there is no such split, or a shard differs from the manifest.
    """
    description = manifest.load(folder)
    parts = []
    for shard in description.splits[split]["shards"]:
        path = folder / shard["file"]
        part = record_shards.parse(record_shards.read_bytes(path), description.layout, str(path))
        parts.append(part.expression.copy())  # a view would keep the whole shard in memory
    return np.concatenate(parts)


def _columns(examples: texts.Examples, rows: slice = slice(None)) -> dict[str, tables.Column]:
    """Returns some of the examples as the columns of a table."""
    columns: dict[str, tables.Column] = {
        "sequence": sequences.text(examples.letters[rows]),
        "expression": examples.expression[rows],
    }
    if examples.weight is not None:
        columns["weight"] = examples.weight[rows]
    return columns

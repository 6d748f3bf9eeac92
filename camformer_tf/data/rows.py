"""Sequences to predict, from text, FASTA, tables or records: in order, block after block."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from camformer_tf import errors, remote, wording
from camformer_tf.data import manifest, records, rules, sequence, text

_BLOCK_ROWS = 1 << 14  # rows per block: whole batches of prediction
_SEPARATORS = {".csv": b",", ".tsv": b"\t"}
_Item = TypeVar("_Item")


@dataclasses.dataclass(frozen=True)
class Rows:
    """N rows to predict, in order.

    Attributes:
        sequences: the sequences as in the source.
        letters: uint8 (N, L), fitted to the rule; all N where a sequence cannot be read.
        expressions: the expressions as in the source, or None if it has none.
        reasons: why a sequence cannot be read, or None.
        names: the names that FASTA gives, or None.
    """

    sequences: list[str]
    letters: np.ndarray
    expressions: list[str] | None
    reasons: list[str | None]
    names: list[str] | None = None


def read(
    source: text.Source, rule: rules.Rule, columns: dict[str, str] | None = None
) -> Iterator[Rows]:
    """Yields the rows of a source, in order. No row is dropped: an unreadable one has a reason.

    A text that begins with > is FASTA. Other text has `SEQUENCE` or `SEQUENCE EXPRESSION` lines,
    and its first line decides whether there are expressions; blank lines are skipped.

    Args:
        source: the text.
        rule: which sequences the model can read.
        columns: for a table with a header, the names of its columns: "sequence" and, if there are
            expressions, "expression" → name.
    """
    if columns:
        yield from _table(source, rule, columns)
        return
    lines = itertools.chain.from_iterable(_lines(source))
    first = next((fields for fields in lines if fields), None)
    if first is None:
        return
    if first[0].startswith(b">"):
        yield from _fasta(itertools.chain([first], lines), rule)
        return
    with_expression = len(first) > 1
    full_lines = (fields for fields in lines if fields)  # blank lines have no fields
    for block in _blocks(itertools.chain([first], full_lines)):
        second = [fields[1] if len(fields) > 1 else b"" for fields in block]
        yield from_sequences(
            [fields[0] for fields in block], second if with_expression else None, rule
        )


def header_columns(path: remote.AnyPath) -> dict[str, str] | None:
    """Returns the columns "sequence" and "expression" of a .csv or .tsv file that has them.

    Other text has no columns: None.

    Raises:
        errors.UserError: a .csv file has no column "sequence".
    """
    kind = Path(path.name.removesuffix(".gz")).suffix
    if kind not in _SEPARATORS:
        return None
    first = next(text.Source(path).blocks(), None)
    line = first.read().partition(b"\n")[0].strip() if first else b""
    words = [w.strip(b'" ').decode("utf-8", "replace") for w in line.split(_SEPARATORS[kind])]
    if "sequence" in words:  # a header with our names, as `predict` writes
        return {name: name for name in ("sequence", "expression") if name in words}
    if kind == ".csv":
        raise errors.UserError(
            f"{path}:1: there is no column 'sequence'. Name the columns: --sequence-column, "
            f"--expression-column. Its columns: {', '.join(words)[:200]}."
        )
    return None


def from_sequences(raw: list[bytes], expressions: list[bytes] | None, rule: rules.Rule) -> Rows:
    """Returns raw sequences, without white space around them, as rows."""
    reasons = [rules.unreadable(letters, rule) for letters in raw]
    lines = [
        rule.fit_length(b"" if reason else rules.plain(letters))
        for letters, reason in zip(raw, reasons, strict=True)
    ]
    return Rows(
        _decode(raw),
        np.frombuffer(b"".join(lines), np.uint8).reshape(len(lines), rule.length),  # (N, L)
        None if expressions is None else _decode(expressions),
        reasons,
    )


def _decode(fields: Iterable[bytes]) -> list[str]:
    return [field.decode("utf-8", "replace") for field in fields]


def from_source(
    source: remote.AnyPath, split: str | None, columns: dict[str, str] | None, rule: rules.Rule
) -> Iterator[Rows]:
    """Yields the rows of a text or of a split of a records directory.

    Args:
        source: a text (`-` is standard input) or a records directory.
        split: the split of a records directory.
        columns: see `read`; by default as the header of a text names them.
        rule: which sequences the model can read.

    Raises:
        errors.UserError: a split or columns do not fit the source, or records have another length.
    """
    if not source.is_dir():
        if split:
            raise errors.UserError(
                f"{source}: --split is for a records directory, but this is a file."
            )
        if not columns and str(source) != "-":
            columns = header_columns(source)
        yield from read(text.Source(source), rule, columns)
        return
    description = manifest.load(source)
    if columns:
        raise errors.UserError(
            f"{source}: columns are for a table, but this is a records directory."
        )
    if split is None:
        names = ", ".join(description.splits)
        raise errors.UserError(f"{source}: choose the split to predict: --split, one of {names}.")
    if description.sequence_length != rule.length:
        raise errors.UserError(
            f"{source}: its sequences have "
            f"{wording.count(description.sequence_length, 'letter')}, but the model reads "
            f"{rule.length}. Build records with --length {rule.length}."
        )
    yield from_examples(records.read(source, split))


def from_examples(examples: text.Examples) -> Rows:
    """Returns examples of records as rows."""
    sequences = sequence.text(examples.letters)
    expressions = [str(value) for value in examples.expression]
    return Rows(sequences, examples.letters, expressions, [None] * len(sequences))


def _lines(source: text.Source) -> Iterator[list[list[bytes]]]:
    """Yields the fields of each line, for one block of lines after another."""
    for block in source.blocks():
        yield [line.split() for line in block.read().split(b"\n")]


def _blocks(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    """Yields the items in lists of `_BLOCK_ROWS`."""
    items = iter(items)
    while block := list(itertools.islice(items, _BLOCK_ROWS)):
        yield block


def _fasta(lines: Iterable[list[bytes]], rule: rules.Rule) -> Iterator[Rows]:
    for block in _blocks(_fasta_records(lines)):
        names, sequences = zip(*block, strict=True)
        rows = from_sequences(list(sequences), None, rule)
        yield dataclasses.replace(rows, names=_decode(names))


def _fasta_records(lines: Iterable[list[bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """Yields name and sequence of FASTA records; the name is the first word after >."""
    name: bytes = b""
    parts: list[bytes] = []
    for number, fields in enumerate(lines):
        if fields and fields[0].startswith(b">"):
            if number:  # there is a record before this one
                yield name, b"".join(parts)
            name, parts = (fields[0][1:] or b"".join(fields[1:2])), []
        else:
            parts += fields
    yield name, b"".join(parts)


def _table(source: text.Source, rule: rules.Rule, columns: dict[str, str]) -> Iterator[Rows]:
    for block in source.named_blocks(columns):
        fields = [line.split(b"\t") for line in block.read().split(b"\n")]
        second = [row[1] for row in fields] if "expression" in columns else None
        yield from_sequences([row[0].strip() for row in fields], second, rule)

"""Sequences to predict, from text, FASTA or tables: in order, a block at a time."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from camformer_tf import errors
from camformer_tf.data import manifest, records, rules, sequence, text

_TOGETHER = 1 << 14  # rows handed on at a time, which are whole batches of prediction
_SEPARATORS = {".csv": b",", ".tsv": b"\t"}


@dataclasses.dataclass(frozen=True)
class Rows:
    """N rows to predict, in order: the sequences as given, uint8 letters (N, L) fitted to the rule,
    expressions as given (None where there are none), why a sequence cannot be read (or None), and
    the names that FASTA gives. The letters of an unreadable row are all N.
    """

    sequences: list[str]
    letters: np.ndarray
    expressions: list[str] | None
    reasons: list[str | None]
    names: list[str] | None = None


def read(
    source: text.Source, rule: rules.Rule, columns: dict[str, str] | None = None
) -> Iterator[Rows]:
    """Yields the rows of a source, in order. Nothing is dropped: what the rule does not admit gets
    a reason.

    FASTA is known by its first letter, >. Of other text, `SEQUENCE` or `SEQUENCE EXPRESSION` a
    line, the first line decides whether there are expressions; blank lines are no rows.

    Args:
        columns: for a table with a header, the columns' names there: "sequence" and, if there are
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
    rest = (fields for fields in lines if fields)
    for part in _parts(itertools.chain([first], rest)):
        second = [fields[1] if len(fields) > 1 else b"" for fields in part]
        yield of_sequences(
            [fields[0] for fields in part], second if with_expression else None, rule
        )


def header_columns(path: Path) -> dict[str, str] | None:
    """Returns the columns "sequence" and "expression" of a .csv or .tsv file whose first line has
    these words; none for other text.

    Raises:
        errors.UserError: a .csv file without a column of that name.
    """
    kind = Path(path.name.removesuffix(".gz")).suffix
    if kind not in _SEPARATORS:
        return None
    first = next(text.Source(path).blocks(), None)
    line = first.read().partition(b"\n")[0].strip() if first else b""
    words = [w.strip(b'" ').decode("utf-8", "replace") for w in line.split(_SEPARATORS[kind])]
    if "sequence" in words:
        return {name: name for name in ("sequence", "expression") if name in words}
    if kind == ".csv":
        raise errors.UserError(
            f"{path}:1: has no column 'sequence'. Name the columns: --sequence-column, "
            f"--expression-column. Its columns: {', '.join(words)[:200]}."
        )
    return None


def of_sequences(sequences: list[bytes], expressions: list[bytes] | None, rule: rules.Rule) -> Rows:
    """Returns raw sequences, without white space around them, as rows."""
    reasons = [rules.unreadable(one, rule) for one in sequences]
    fitted = [
        rule.fit_length(b"" if reason else rules.plain(one))
        for one, reason in zip(sequences, reasons, strict=True)
    ]
    return Rows(
        [one.decode("utf-8", "replace") for one in sequences],
        np.frombuffer(b"".join(fitted), np.uint8).reshape(len(fitted), rule.length),
        expressions and [one.decode("utf-8", "replace") for one in expressions],
        reasons,
    )


def of_source(
    source: Path, split: str | None, columns: dict[str, str] | None, rule: rules.Rule
) -> Iterator[Rows]:
    """Yields the rows of a text, by default with its columns as the header names them, or of a
    split of a records directory.

    Raises:
        errors.UserError: a split or columns that do not go with the source, or records of another
            length.
    """
    if not source.is_dir():
        if split:
            raise errors.UserError(f"{source}: --split is for a records directory, this is a file.")
        columns = columns or (None if str(source) == "-" else header_columns(source))
        yield from read(text.Source(source), rule, columns)
        return
    described = manifest.load(source)
    if columns:
        raise errors.UserError(f"{source}: columns are for a table, this is a records directory.")
    if split is None:
        names = ", ".join(described.splits)
        raise errors.UserError(f"{source}: say which split to predict: --split, one of {names}.")
    if described.sequence_length != rule.length:
        raise errors.UserError(
            f"{source}: its sequences have {described.sequence_length} letters, the model reads "
            f"{rule.length}. Build records with --length {rule.length}."
        )
    yield of_examples(records.read(source, split))


def of_examples(examples: text.Examples) -> Rows:
    """Returns examples of records as rows."""
    sequences = sequence.text(examples.letters)
    expressions = [str(value) for value in examples.expression]
    return Rows(sequences, examples.letters, expressions, [None] * len(sequences))


def _lines(source: text.Source) -> Iterator[list[list[bytes]]]:
    """Yields the fields of lines, a block of them at a time."""
    for block in source.blocks():
        yield [line.split() for line in block.read().split(b"\n")]


def _parts(items: Iterable) -> Iterator[list]:
    items = iter(items)
    while part := list(itertools.islice(items, _TOGETHER)):
        yield part


def _fasta(lines: Iterable[list[bytes]], rule: rules.Rule) -> Iterator[Rows]:
    for part in _parts(_records(lines)):
        names, sequences = zip(*part, strict=True)
        rows = of_sequences(list(sequences), None, rule)
        yield dataclasses.replace(rows, names=[name.decode("utf-8", "replace") for name in names])


def _records(lines: Iterable[list[bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """Yields name and sequence of FASTA records; the name is the first word after >."""
    name, parts = b"", []
    for number, fields in enumerate(lines):
        if fields and fields[0].startswith(b">"):
            if number:
                yield name, b"".join(parts)
            name, parts = (fields[0][1:] or b"".join(fields[1:2])), []
        else:
            parts += fields
    yield name, b"".join(parts)


def _table(source: text.Source, rule: rules.Rule, columns: dict[str, str]) -> Iterator[Rows]:
    for block in source.named_blocks(columns):
        fields = [line.split(b"\t") for line in block.read().split(b"\n")]
        second = [row[1] for row in fields] if "expression" in columns else None
        yield of_sequences([row[0].strip() for row in fields], second, rule)

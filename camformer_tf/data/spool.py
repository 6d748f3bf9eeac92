"""Only for `records.build_records`: the kept examples in one file, to be read again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from camformer_tf import errors, progress, remote, wording
from camformer_tf.data import rules, splits, strands, text, workers

_SHOWN_REJECTS = 5
_BLOCKS_PER_PART = 4  # about 35,000 examples of 110 letters


@dataclasses.dataclass(frozen=True)
class SpooledRows:
    """A file of examples, in groups: one group per block of the text.

    Between the groups are gaps, for the lines that were not kept.

    Attributes:
        path: the file.
        length: letters per sequence.
        has_weight: whether a row has a weight.
        starts: (G,), the first row of each group.
        counts: (G,), the number of its rows.
    """

    path: Path
    length: int
    has_weight: bool
    starts: np.ndarray
    counts: np.ndarray

    @property
    def type(self) -> np.dtype:
        """The type of a row."""
        fields: list[tuple] = [("letters", np.uint8, (self.length,)), ("expression", np.float32)]
        return np.dtype([*fields, *([("weight", np.float32)] if self.has_weight else [])])

    def read(self) -> np.ndarray:
        """Returns the rows of all groups, in their order: (N,) of `type`."""
        rows, offset = np.empty(int(self.counts.sum()), self.type), 0  # (N,)
        with self.path.open("rb") as file:
            for start, count in zip(self.starts.tolist(), self.counts.tolist(), strict=True):
                file.seek(start * self.type.itemsize)
                file.readinto(rows[offset : offset + count].data)
                offset += count
        return rows


@dataclasses.dataclass(frozen=True)
class SpooledPart:
    """Some of the examples, as a task for another process.

    Attributes:
        rows: where the examples are.
        labels: a file with the index of every example's split.
        first: the place of the first example's label in it.
    """

    rows: SpooledRows
    labels: Path
    first: int

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the rows, (N,), and the index of each row's split: uint8 (N,)."""
        rows = self.rows.read()
        labels = np.load(self.labels, mmap_mode="r")[self.first : self.first + len(rows)]
        return rows, np.array(labels)


@dataclasses.dataclass
class Spool:
    """The contents of a text: its kept examples in a file, and a few numbers of each in memory.

    Attributes:
        rows: where the kept examples are.
        letter_counts: int64 (5, L), how often each of ACGTN is in each column.
        counts: what became of the lines.
        rejects: the first reasons of malformed lines.
        expression: float32 arrays, one per block.
        weight: float32 arrays, one per block; empty without weights.
        hashes: uint64 arrays, one per block.
        split: the name of each example's split, if the text has it.
        sources: as in manifest.json.
    """

    rows: SpooledRows
    letter_counts: np.ndarray
    counts: text.Counts = dataclasses.field(default_factory=text.Counts)
    rejects: list[str] = dataclasses.field(default_factory=list)
    expression: list[np.ndarray] = dataclasses.field(default_factory=list)
    weight: list[np.ndarray] = dataclasses.field(default_factory=list)
    hashes: list[np.ndarray] = dataclasses.field(default_factory=list)
    split: list[str] = dataclasses.field(default_factory=list)
    sources: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def parts(self, labels: Path) -> Iterator[SpooledPart]:
        """Yields the examples in parts of a few blocks."""
        rows, first = self.rows, 0
        for start in range(0, len(rows.counts), _BLOCKS_PER_PART):
            groups = slice(start, start + _BLOCKS_PER_PART)
            section = dataclasses.replace(
                rows, starts=rows.starts[groups], counts=rows.counts[groups]
            )
            yield SpooledPart(section, labels, first)
            first += int(section.counts.sum())


@dataclasses.dataclass(frozen=True)
class _ParseTask:
    """A block of lines, and the first row of the file for its kept examples."""

    block: text.LineBlock
    source: str
    rule: rules.Rule
    columns: tuple[str, ...]
    seed: int
    rows: SpooledRows


class _Parse(NamedTuple):
    """The contents of a block of lines, whose kept examples are in the file."""

    start: int
    counts: text.Counts
    rejects: list[str]
    expression: np.ndarray
    weight: np.ndarray | None
    split: list[str] | None
    hashes: np.ndarray
    letter_counts: np.ndarray


def gather(
    text_files: Sequence[remote.AnyPath],
    out_file: Path,
    rule: rules.Rule,
    seed: int,
    columns: dict[str, str] | None,
    mapper: workers.Mapper,
    report: progress.Report,
) -> Spool:
    """Writes the kept examples of text files to `out_file`, and returns the contents of the text.

    Args:
        text_files: as in `build.build`.
        out_file: the file to write.
        rule: which sequences are kept, and at what length.
        seed: the seed of the hashes.
        columns: as in `build.build`.
        mapper: as in `workers.pool`.
        report: a report of the lines read.
    """
    roles = tuple(columns) if columns else rules.PLAIN_COLUMNS
    empty = SpooledRows(
        out_file, rule.length, "weight" in roles, np.empty(0, int), np.empty(0, int)
    )
    spool = Spool(empty, np.zeros((5, rule.length), np.int64))
    out_file.touch()
    groups, lines = [], 0
    sources = [text.Source(path) for path in text_files]

    def tasks(source: text.Source) -> Iterator[_ParseTask]:
        nonlocal lines
        for block in source.named_blocks(columns) if columns else source.blocks():
            # A line gives at most one example, so the groups of two blocks never overlap.
            rows = dataclasses.replace(empty, starts=np.array([lines]))
            lines += block.lines
            yield _ParseTask(block, source.name, rule, roles, seed, rows)

    for source in sources:
        for parse in mapper(_parse, tasks(source)):
            groups.append((parse.start, parse.counts.examples))
            spool.counts.add(parse.counts)
            # Of several blocks, the first rejects of the text are shown.
            spool.rejects += parse.rejects[: _SHOWN_REJECTS - len(spool.rejects)]
            spool.expression.append(parse.expression)
            spool.weight += [parse.weight] if empty.has_weight else []
            spool.hashes.append(parse.hashes)
            spool.split += parse.split or []
            spool.letter_counts += parse.letter_counts
            report("reading", spool.counts.lines, 0)
        spool.sources.append(source.description())
    starts, counts = np.array(groups, int).reshape(-1, 2).T  # (G,) each
    spool.rows = dataclasses.replace(empty, starts=starts, counts=counts)
    return spool


def _parse(task: _ParseTask) -> _Parse:
    """Writes the kept examples of a block to the file, and returns what else the block has."""
    examples, counts, rejects = text.parse(
        task.block.read(),
        task.rule,
        task.source,
        task.block.first,
        task.columns,
        max_rejects=_SHOWN_REJECTS,
    )
    rows = np.empty(counts.examples, task.rows.type)  # (n,), one record of the file each
    rows["letters"], rows["expression"] = examples.letters, examples.expression
    if task.rows.has_weight:
        rows["weight"] = examples.weight
    start = int(task.rows.starts[0])
    with task.rows.path.open("r+b") as file:
        file.seek(start * rows.itemsize)
        file.write(rows.data)
    return _Parse(
        start,
        counts,
        rejects,
        examples.expression,
        examples.weight,
        examples.split,
        splits.hashes(examples.letters, task.seed),
        strands.count(examples.letters),
    )


def check(spool: Spool, text_files: Sequence[remote.AnyPath], on_malformed: str) -> None:
    """Raises UserError if lines are malformed and must not be, or if no line is kept."""
    names, counts = ", ".join(str(path) for path in text_files), spool.counts
    if counts.malformed and on_malformed == "error":
        verb = "is" if counts.malformed == 1 else "are"
        raise errors.UserError(
            f"{counts.malformed:,} of {wording.count(counts.lines, 'line')} {verb} malformed:\n"
            + "\n".join(f"  {reject}" for reject in spool.rejects)
            + ("\n  …" if counts.malformed > len(spool.rejects) else "")
            + "\nFix them, or pass --on-malformed skip to leave such lines out."
        )
    if not counts.lines:
        raise errors.UserError(f"{names}: no line to read. Expected SEQUENCE<TAB>EXPRESSION lines.")
    if not counts.examples:
        raise errors.UserError(
            f"{names}: none of {wording.count(counts.lines, 'line')} is kept "
            f"({counts.malformed:,} malformed, {counts.dropped_n:,} with too many N, "
            f"{counts.dropped_length:,} of wrong length). "
            "See --length, --length-margin and --max-n."
        )
    if spool.weight and not any(weight.any() for weight in spool.weight):
        raise errors.UserError(f"{names}: every weight is 0, so the network would learn nothing.")

"""The kept examples of a text, gathered into one file of rows of one size, to be read again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from camformer_tf import errors, progress
from camformer_tf.data import rules, splits, strands, text, workers

_SHOWN_REJECTS = 5
_RUNS = 4  # of rows that a task takes: about 35,000 examples of 110 letters


@dataclasses.dataclass(frozen=True)
class Rows:
    """A file of gathered examples. They lie in runs, one for each block of the text, with gaps for
    the lines that were not kept: run i has `counts[i]` rows, from row `starts[i]` on.
    """

    path: Path
    length: int
    weighted: bool
    starts: np.ndarray
    counts: np.ndarray

    @property
    def type(self) -> np.dtype:
        """The type of a row."""
        letters, number = (np.uint8, (self.length,)), np.float32
        fields = [("letters", *letters), ("expression", number)]
        return np.dtype([*fields, *([("weight", number)] if self.weighted else [])])

    def read(self) -> np.ndarray:
        """Returns the rows of all runs, in their order."""
        rows, done = np.empty(int(self.counts.sum()), self.type), 0
        with self.path.open("rb") as file:
            for start, count in zip(self.starts.tolist(), self.counts.tolist(), strict=True):
                file.seek(start * self.type.itemsize)
                file.readinto(rows[done : done + count])
                done += count
        return rows


@dataclasses.dataclass(frozen=True)
class Part:
    """Some of the gathered examples, as a task for another process: their rows, and their labels,
    which begin at `first` in a file of them.
    """

    rows: Rows
    labels: Path
    first: int

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the rows, and the index of each one's split: uint8 (N,)."""
        rows = self.rows.read()
        labels = np.load(self.labels, mmap_mode="r")[self.first : self.first + len(rows)]
        return rows, np.array(labels)


@dataclasses.dataclass
class Spool:
    """What a text held: where the kept examples are; and of each the expression and, if given, the
    weight (float32), a hash (uint64) and the split if the text says it; how often each of ACGTN
    stands in each column, (5, L); `sources` as in manifest.json.
    """

    letter_counts: np.ndarray
    rows: Rows | None = None
    counts: text.Counts = dataclasses.field(default_factory=text.Counts)
    rejects: list[str] = dataclasses.field(default_factory=list)
    expression: list[np.ndarray] = dataclasses.field(default_factory=list)
    weight: list[np.ndarray] = dataclasses.field(default_factory=list)
    hashes: list[np.ndarray] = dataclasses.field(default_factory=list)
    split: list[str] = dataclasses.field(default_factory=list)
    sources: list[dict] = dataclasses.field(default_factory=list)

    def parts(self, labels: Path) -> Iterator[Part]:
        """Yields the examples a few runs at a time."""
        rows, first = self.rows, 0
        for run in range(0, len(rows.counts), _RUNS):
            few = slice(run, run + _RUNS)
            own = dataclasses.replace(rows, starts=rows.starts[few], counts=rows.counts[few])
            yield Part(own, labels, first)
            first += int(own.counts.sum())


@dataclasses.dataclass(frozen=True)
class _Task:
    """A block of lines, and the row of the file from which its kept examples are written."""

    block: text.Block
    where: str
    rule: rules.Rule
    columns: tuple[str, ...]
    seed: int
    rows: Rows


def gather(
    text_files: Sequence[Path],
    out_file: Path,
    rule: rules.Rule,
    seed: int,
    columns: dict[str, str] | None,
    run: workers.Run,
    report: progress.Report,
) -> Spool:
    """Writes the kept examples of text files to `out_file`, and returns what else the text held.
    The arguments are those of `records.write`.
    """
    roles = tuple(columns) if columns else rules.PLAIN
    spool = Spool(np.zeros((5, rule.length), np.int64))
    empty = Rows(out_file, rule.length, "weight" in roles, np.empty(0, int), np.empty(0, int))
    out_file.touch()
    runs, lines = [], 0
    sources = [text.Source(path) for path in text_files]

    def tasks(source: text.Source) -> Iterator[_Task]:
        nonlocal lines
        for block in source.named_blocks(columns) if columns else source.blocks():
            # A line is an example at most, so no two blocks meet.
            rows = dataclasses.replace(empty, starts=np.array([lines]))
            lines += block.lines
            yield _Task(block, source.name, rule, roles, seed, rows)

    for source in sources:
        for start, counts, rejects, examples, hashes, letter_counts in run(_parse, tasks(source)):
            runs.append((start, counts.kept))
            spool.counts.add(counts)
            spool.rejects += rejects[: _SHOWN_REJECTS - len(spool.rejects)]
            spool.expression.append(examples.expression)
            spool.weight += [examples.weight] if empty.weighted else []
            spool.hashes.append(hashes)
            spool.split += examples.split or []
            spool.letter_counts += letter_counts
            report("reading", spool.counts.lines, 0)
        name, digest = Path(source.name).name, source.digest.hexdigest()
        spool.sources.append(
            {"name": name, "bytes": source.size, "sha256": digest, "lines": source.lines}
        )
    starts, counts = np.array(runs, int).reshape(-1, 2).T
    spool.rows = dataclasses.replace(empty, starts=starts, counts=counts)
    return spool


def _parse(task: _Task):
    examples, counts, rejects = text.parse(
        task.block.read(),
        task.rule,
        task.where,
        task.block.first,
        task.columns,
        shown=_SHOWN_REJECTS,
    )
    rows = np.empty(counts.kept, task.rows.type)
    rows["letters"], rows["expression"] = examples.letters, examples.expression
    if task.rows.weighted:
        rows["weight"] = examples.weight
    start = int(task.rows.starts[0])
    with task.rows.path.open("r+b") as file:
        file.seek(start * rows.itemsize)
        file.write(rows)
    hashes, counted = splits.hashes(examples.letters, task.seed), strands.count(examples.letters)
    rest = dataclasses.replace(examples, letters=None)  # in the file now
    return start, counts, rejects, rest, hashes, counted


def check(spool: Spool, text_files: Sequence[Path], on_malformed: str) -> None:
    """Raises UserError if lines are malformed and may not be, or if nothing is kept."""
    names = ", ".join(str(path) for path in text_files)
    if spool.counts.malformed and on_malformed == "error":
        raise errors.UserError(
            f"{spool.counts.malformed:,} of {spool.counts.lines:,} lines are malformed:\n"
            + "\n".join(f"  {reject}" for reject in spool.rejects)
            + ("\n  …" if spool.counts.malformed > len(spool.rejects) else "")
            + "\nMend them, or pass --on-malformed skip to leave such lines out."
        )
    if not spool.counts.lines:
        raise errors.UserError(f"{names}: no line to read. Expected SEQUENCE<TAB>EXPRESSION lines.")
    if not spool.counts.kept:
        counts = spool.counts
        raise errors.UserError(
            f"{names}: none of {counts.lines:,} lines is kept ({counts.malformed:,} malformed, "
            f"{counts.dropped_n:,} with too many N, {counts.dropped_length:,} of wrong length). "
            "See --length, --length-margin and --max-n."
        )
    if spool.weight and not any(weight.any() for weight in spool.weight):
        raise errors.UserError(f"{names}: every weight is 0, so nothing would be learned.")

"""The kept examples of a text, gathered into one file of rows of one size, to be read again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from camformer_tf import errors, progress
from camformer_tf.data import rules, splits, text, workers

_SHOWN_REJECTS = 5


@dataclasses.dataclass
class Spool:
    """What a text held, besides the letters: of each kept example the expression (float32), a hash
    (uint64) and the split if the text says it; `sources` as in manifest.json."""

    counts: text.Counts = dataclasses.field(default_factory=text.Counts)
    rejects: list[str] = dataclasses.field(default_factory=list)
    expression: list[np.ndarray] = dataclasses.field(default_factory=list)
    hashes: list[np.ndarray] = dataclasses.field(default_factory=list)
    split: list[str] = dataclasses.field(default_factory=list)
    sources: list[dict] = dataclasses.field(default_factory=list)


def gather(
    text_files: Sequence[Path],
    out_file: Path,
    rule: rules.Rule,
    seed: int,
    columns: dict[str, str] | None,
    run: workers.Run,
    report: progress.Report,
) -> Spool:
    """Writes the kept examples of text files to `out_file`, as rows of `row_type` in their order,
    and returns what else the text held. The arguments are those of `records.write`."""
    spool = Spool()
    sources = [text.Source(path) for path in text_files]
    roles = tuple(columns) if columns else rules.PLAIN
    with out_file.open("wb") as out:
        for source in sources:
            chunks = source.named_chunks(columns) if columns else source.chunks()
            tasks = ((block, rule, source.name, first, seed, roles) for block, first in chunks)
            for examples, counts, rejects, hashes in run(_parse, tasks):
                spool.counts.add(counts)
                spool.rejects += rejects[: _SHOWN_REJECTS - len(spool.rejects)]
                spool.expression.append(examples.expression)
                spool.hashes.append(hashes)
                spool.split += examples.split or []
                rows = np.empty(counts.kept, row_type(rule.length))
                rows["letters"], rows["expression"] = examples.letters, examples.expression
                rows.tofile(out)
                report("reading", spool.counts.lines, 0)
            name, digest = Path(source.name).name, source.digest.hexdigest()
            spool.sources.append(
                {"name": name, "bytes": source.size, "sha256": digest, "lines": source.lines}
            )
    return spool


def _parse(task: tuple[bytes, rules.Rule, str, int, int, tuple[str, ...]]):
    block, rule, where, first, seed, roles = task
    examples, counts, rejects = text.parse(block, rule, where, first, roles)
    return examples, counts, rejects[:_SHOWN_REJECTS], splits.hashes(examples.letters, seed)


def row_type(length: int) -> np.dtype:
    """Returns the type of a gathered example of so many letters."""
    return np.dtype([("letters", np.uint8, (length,)), ("expression", np.float32)])


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

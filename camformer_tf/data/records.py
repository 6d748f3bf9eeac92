"""Sharded TFRecords and their manifest: write a set from text, read a split back."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

import camformer_tf
from camformer_tf import errors, files, progress, recipe
from camformer_tf.data import (
    family,
    leakage,
    manifest,
    rules,
    sequence,
    shards,
    splits,
    spool,
    strands,
    text,
    workers,
    writer,
)

_EXPORTED = 1 << 14  # examples turned into text at a time
_DEFAULTS = recipe.RecordsConfig()


def write(
    text_files: Sequence[Path],
    out_dir: Path,
    *,
    rule: rules.Rule,
    config: recipe.RecordsConfig = _DEFAULTS,
    columns: dict[str, str] | None = None,
    overwrite: bool = False,
    report: progress.Report = progress.silent,
) -> manifest.Manifest:
    """Writes text files as a record set and returns its manifest.

    The set is written beside `out_dir` and takes that name once it is whole. The same text, options
    and seed give the same bytes, whatever the number of workers. Memory is bounded but for about 25
    bytes a kept line and, to look for near neighbours, about 250 a line outside training (and one
    in training that shares a piece with such a line); a family split takes 110 a line.

    Args:
        text_files: files of SEQUENCE<TAB>EXPRESSION lines; .gz is unpacked, "-" is standard input.
        rule: which sequences are kept, and at what length.
        config: how to split (see `splits`); shards a split, at most one an example; a malformed
            line refuses the text ("error") or is left out ("skip").
        columns: for tables with a header, the names of the columns that hold `sequence`,
            `expression`, perhaps `weight` and, to split by column, `split`.

    Raises:
        errors.UserError: unreadable, malformed or empty text, a split that cannot be filled, or an
            `out_dir` that exists.
    """
    by_column = config.split_by == "column"
    if by_column != ("split" in (columns or {})):
        raise errors.UserError("--split-by column and --split-column go together: give both.")
    fractions = {} if by_column else splits.parse_fractions(config.split)
    with (
        files.new_folder(out_dir, overwrite=overwrite, marker=manifest.FILE) as folder,
        workers.pool(_workers(config, text_files)) as run,
    ):
        rows_file, labels_file = folder / "rows", folder / "labels.npy"
        gathered = spool.gather(text_files, rows_file, rule, config.seed, columns, run, report)
        spool.check(gathered, text_files, config.on_malformed)
        kept = gathered.counts.kept
        parts = list(gathered.parts(labels_file))
        library = strands.columns(gathered.letter_counts, kept)
        report("splitting", 0, kept)
        if by_column:
            labels, fractions = splits.by_column(gathered.split)
        else:
            labels = _labels(gathered, parts, library, config, fractions)
        names = list(fractions)
        np.save(labels_file, labels)
        shard_files = writer.names(labels, names, config)
        near = None
        if config.leakage and len(names) > 1:
            found = leakage.leaked(parts, library, folder, run, mismatches=config.mismatches)
            near = _near_neighbours(found, labels[labels != 0], names, config)
        described = writer.write(parts, labels, folder, shard_files, run, report)
        rows_file.unlink()
        labels_file.unlink()
        made = _manifest(gathered, rule, config, fractions, described, near)
        manifest.save(made, folder)
    return made


def read(folder: Path, split: str, first: int | None = None) -> text.Examples:
    """Returns a split in the order of its text: letters uint8 (N, L), expression and, if the set
    has them, weight float32 (N,).

    Args:
        first: how many examples to read, from the beginning; all of them without it.

    Raises:
        errors.UserError: no such split, or shards that the manifest does not describe.
    """
    described = manifest.load(folder)
    if split not in described.splits:
        raise errors.UserError(
            f"{folder}: has no split {split!r}. Its splits: {', '.join(described.splits)}."
        )
    shard_files, shape = described.splits[split]["shards"], described.layout
    size = sum(shard["examples"] for shard in shard_files)
    count = size if first is None else min(first, size)
    letters = np.empty((count, described.sequence_length), np.uint8)
    expression = np.empty(count, np.float32)
    weight = np.empty(count, np.float32) if shape.weight else None
    # Example i lies in shard i modulo their count.
    for index, shard in enumerate(shard_files):
        rows = slice(index, None, len(shard_files))
        path, wanted = folder / shard["file"], len(expression[rows])
        data = shards.read_bytes(path)
        if count < size:
            data = data[: wanted * shards.record_bytes(shape)]
        part = shards.parse(data, shape, str(path))
        if len(part.expression) != wanted:
            raise errors.UserError(
                f"{path}: holds {len(part.expression)} examples, the manifest says "
                f"{shard['examples']}. {shards.REBUILD}"
            )
        letters[rows], expression[rows] = part.letters, part.expression
        if weight is not None:
            weight[rows] = part.weight
    return text.Examples(letters, expression, weight)


def expression(folder: Path, split: str) -> np.ndarray:
    """Returns the expressions of a split alone, one shard after another: float32 (N,). No more than
    one shard is held at a time.

    Raises:
        errors.UserError: no such split, or shards that the manifest does not describe.
    """
    described = manifest.load(folder)
    parts = []
    for shard in described.splits[split]["shards"]:
        path = folder / shard["file"]
        part = shards.parse(shards.read_bytes(path), described.layout, str(path))
        parts.append(part.expression.copy())  # else the whole shard is kept
    return np.concatenate(parts)


def head(folder: Path, split: str, count: int) -> list[str]:
    """Returns the first examples of a split as lines of text, as `export` writes them."""
    return _lines(read(folder, split, count))


def export(
    folder: Path,
    out: Path,
    split: str | None = None,
    report: progress.Report = progress.silent,
) -> int:
    """Writes a split, or all of them one after another, back as SEQUENCE<TAB>EXPRESSION lines and
    returns their number. Numbers have the fewest digits that give the float32 back. A set with
    weights becomes a table: a header, and a third column.

    Raises:
        errors.UserError: a broken set, no such split, or an `out` that exists.
    """
    described, done = manifest.load(folder), 0
    with files.new_file(out) as temporary, temporary.open("w") as file:
        if described.weight:
            file.write("sequence\texpression\tweight\n")
        for name in [split] if split else described.splits:
            examples = read(folder, name)
            for start in range(0, len(examples.expression), _EXPORTED):
                lines = _lines(examples, slice(start, start + _EXPORTED))
                file.writelines(line + "\n" for line in lines)
                done += len(lines)
                report("exporting", done, described.counts["kept"])
    return done


def _lines(examples: text.Examples, rows: slice = slice(None)) -> list[str]:
    columns = [sequence.text(examples.letters[rows]), map(str, examples.expression[rows])]
    if examples.weight is not None:
        columns.append(map(str, examples.weight[rows]))
    return list(map("\t".join, zip(*columns, strict=True)))


def _workers(config: recipe.RecordsConfig, text_files: Sequence[Path]) -> int:
    """Returns how many processes to use: a small text is done before others have started."""
    sizes = [p.stat().st_size for p in text_files if str(p) != "-" and p.is_file()]
    small = len(sizes) == len(text_files) and sum(sizes) < 1 << 25
    return 1 if small else config.workers


def _labels(
    gathered: spool.Spool,
    parts: Sequence[spool.Part],
    library: strands.Columns,
    config: recipe.RecordsConfig,
    fractions: dict[str, Fraction],
) -> np.ndarray:
    """Returns the index of each kept example's split: uint8 (kept,)."""
    kept = gathered.counts.kept
    if config.split_by == "family":
        letters = (part.rows.read()["letters"] for part in parts)
        packed = strands.pack(letters, kept, library)
        families = family.families(packed, mismatches=config.mismatches)
        return splits.by_family(families, fractions, config.seed)
    if config.split_by == "hash":
        return splits.by_hash(np.concatenate(gathered.hashes), fractions)
    if config.split_by == "stratified":
        return splits.stratified(np.concatenate(gathered.expression), fractions, config.seed)
    return splits.random(kept, fractions, config.seed)


def _near_neighbours(
    found: np.ndarray, labels: np.ndarray, names: list[str], config: recipe.RecordsConfig
) -> dict:
    """Returns how many sequences of each split but the first have a near one in the first."""
    counts = np.bincount(labels[found], minlength=len(names)).tolist()
    in_training = dict(zip(names[1:], counts[1:], strict=True))
    return {"mismatches": config.mismatches, "in_training": in_training}


def _manifest(
    gathered: spool.Spool,
    rule: rules.Rule,
    config: recipe.RecordsConfig,
    fractions: dict[str, Fraction],
    written: dict[str, dict],
    near: dict | None,
) -> manifest.Manifest:
    repeats = _repeats(gathered.hashes)
    expression = np.concatenate(gathered.expression)
    return manifest.Manifest(
        schema_version=manifest.SCHEMA_VERSION,
        sequence_length=rule.length,
        features={"sequence": "bytes", "expression": "float"}
        | ({"weight": "float"} if gathered.weight else {}),
        rule=dataclasses.asdict(rule),
        counts=dataclasses.asdict(gathered.counts),
        split={
            "by": config.split_by,
            "seed": config.seed,
            "fractions": {name: float(fraction) for name, fraction in fractions.items()},
        },
        splits=written,
        expression=_range(expression)
        | {
            "std": float(expression.std(dtype=np.float64)),
            "integer_fraction": float(np.mean(expression == np.round(expression))),
        },
        weight=_range(np.concatenate(gathered.weight)) if gathered.weight else None,
        source=gathered.sources,
        duplicates=repeats,
        near_neighbours=near,
        created_by={"version": camformer_tf.__version__},
    )


def _repeats(hashes: list[np.ndarray]) -> int:
    """Returns how many sequences repeat another, and lets go of their hashes."""
    joined = np.concatenate(hashes)
    hashes.clear()
    joined.sort()
    return int(np.count_nonzero(joined[1:] == joined[:-1]))


def _range(values: np.ndarray) -> dict[str, float]:
    mean = values.mean(dtype=np.float64)
    return {"min": float(values.min()), "max": float(values.max()), "mean": float(mean)}

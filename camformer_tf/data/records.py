"""Sharded TFRecords and their manifest: write a set from text, read a split back."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

import camformer_tf
from camformer_tf import errors, progress, recipe, rundir
from camformer_tf.data import (
    family,
    layout,
    manifest,
    rules,
    sequence,
    shards,
    splits,
    spool,
    text,
    workers,
)

_BLOCK = 1 << 14  # examples that a writer fills in at a time
_DEFAULTS = recipe.RecordsConfig()


@dataclasses.dataclass(frozen=True)
class _Shards:
    """A task of a writer: which of the gathered examples go to which files of one split."""

    rows: Path
    labels: Path
    label: int
    length: int
    shards: int
    files: dict[int, Path]  # index among the shards → file


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
    and seed give the same bytes, whatever the number of workers. Memory is bounded but for 13 bytes
    a kept line, and about 150 while near neighbours are looked for.

    Args:
        text_files: files of SEQUENCE<TAB>EXPRESSION lines; .gz is unpacked, "-" is standard input.
        rule: which sequences are kept, and at what length.
        config: how to split (see `splits`); shards a split, at most one an example; a malformed
            line refuses the text ("error") or is left out ("skip").
        columns: for tables with a header, the names of the columns that hold `sequence`,
            `expression` and, to split by column, `split`.

    Raises:
        errors.UserError: unreadable, malformed or empty text, a split that cannot be filled, or an
            `out_dir` that exists.
    """
    by_column = config.split_by == "column"
    if by_column != ("split" in (columns or {})):
        raise errors.UserError("--split-by column and --split-column go together: give both.")
    fractions = {} if by_column else splits.parse_fractions(config.split)
    with rundir.new_folder(out_dir, overwrite=overwrite, marker=manifest.FILE) as folder:
        rows_file, labels_file = folder / "rows", folder / "labels.npy"
        with workers.pool(_workers(config, text_files)) as run:
            gathered = spool.gather(text_files, rows_file, rule, config.seed, columns, run, report)
            spool.check(gathered, text_files, config.on_malformed)
            rows = np.memmap(rows_file, spool.row_type(rule.length), "r")
            report("splitting", 0, len(rows))
            if by_column:
                labels, fractions = splits.by_column(gathered.split)
            else:
                labels = _labels(gathered, rows["letters"], config, fractions)
            near = _near_neighbours(rows["letters"], labels, list(fractions), config)
            np.save(labels_file, labels)
            names = _names(labels, list(fractions), config)
            tasks = _tasks(rows_file, labels_file, rule.length, folder, names)
            described = _written(run(_write_shards, tasks), labels, names, report)
        rows_file.unlink()
        labels_file.unlink()
        made = _manifest(gathered, rule, config, fractions, described, near)
        manifest.save(made, folder)
    return made


def read(
    folder: Path, split: str, first: int | None = None, own: slice = slice(None)
) -> text.Examples:
    """Returns a split in the order of its text: letters uint8 (N, L), expression float32 (N,).

    Args:
        first: how many examples to read, from the beginning; all of them without it.
        own: of which shards; all of them by default.

    Raises:
        errors.UserError: no such split, or shards that the manifest does not describe.
    """
    described = manifest.load(folder)
    if split not in described.splits:
        raise errors.UserError(
            f"{folder}: has no split {split!r}. Its splits: {', '.join(described.splits)}."
        )
    files, shape = described.splits[split]["shards"][own], layout.of(described.sequence_length)
    size = sum(shard["examples"] for shard in files)
    count = size if first is None else min(first, size)
    letters = np.empty((count, described.sequence_length), np.uint8)
    expression = np.empty(count, np.float32)
    # Example i lies in shard i modulo their count.
    for index, shard in enumerate(files):
        rows = slice(index, None, len(files))
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
    return text.Examples(letters, expression)


def head(folder: Path, split: str, count: int) -> list[tuple[str, float]]:
    """Returns the first examples of a split as (sequence, expression)."""
    first = read(folder, split, count)
    return list(zip(sequence.text(first.letters), first.expression.tolist(), strict=True))


def export(
    folder: Path,
    out: Path,
    split: str | None = None,
    report: progress.Report = progress.silent,
) -> int:
    """Writes a split, or all of them one after another, back as SEQUENCE<TAB>EXPRESSION lines and
    returns their number. Expressions have the fewest digits that give the float32 back.

    Raises:
        errors.UserError: a broken set, no such split, or an `out` that exists.
    """
    described, done = manifest.load(folder), 0
    with rundir.new_file(out) as temporary, temporary.open("w") as file:
        for name in [split] if split else described.splits:
            examples = read(folder, name)
            for start in range(0, len(examples.expression), _BLOCK):
                names = sequence.text(examples.letters[start : start + _BLOCK])
                values = map(str, examples.expression[start : start + _BLOCK])
                file.writelines(f"{s}\t{v}\n" for s, v in zip(names, values, strict=True))
                done += len(names)
                report("exporting", done, described.counts["kept"])
    return done


def _workers(config: recipe.RecordsConfig, text_files: Sequence[Path]) -> int:
    """Returns how many processes to use: a small text is done before others have started."""
    sizes = [path.stat().st_size for path in text_files if path.is_file()]
    small = len(sizes) == len(text_files) and sum(sizes) < 1 << 25
    return 1 if small else config.workers


def _labels(
    gathered: spool.Spool,
    letters: np.ndarray,
    config: recipe.RecordsConfig,
    fractions: dict[str, Fraction],
) -> np.ndarray:
    """Returns the index of each kept example's split: uint8 (kept,)."""
    if config.split_by == "family":
        families = family.families(letters, mismatches=config.mismatches)
        return splits.by_family(families, fractions, config.seed)
    if config.split_by == "hash":
        return splits.by_hash(np.concatenate(gathered.hashes), fractions)
    if config.split_by == "stratified":
        return splits.stratified(np.concatenate(gathered.expression), fractions, config.seed)
    return splits.random(gathered.counts.kept, fractions, config.seed)


def _near_neighbours(
    letters: np.ndarray, labels: np.ndarray, names: list[str], config: recipe.RecordsConfig
) -> dict | None:
    """Returns how many sequences of each other split have a near one in the first."""
    if not config.leakage or len(names) == 1:
        return None
    leaked = family.leaked(letters, labels == 0, mismatches=config.mismatches)
    counts = np.bincount(labels[leaked], minlength=len(names)).tolist()
    in_training = dict(zip(names[1:], counts[1:], strict=True))
    return {"mismatches": config.mismatches, "in_training": in_training}


def _names(
    labels: np.ndarray, names: list[str], config: recipe.RecordsConfig
) -> dict[str, list[str]]:
    """Returns the file names of each split's shards: as many as asked, at most one an example."""
    sizes = np.bincount(labels, minlength=len(names)).tolist()
    if empty := [name for name, size in zip(names, sizes, strict=True) if not size]:
        raise errors.UserError(
            f"{len(labels)} sequences are too few: no sequence falls into {', '.join(empty)}."
        )
    end = ".tfrecord.gz" if config.compression == "gzip" else ".tfrecord"
    return {
        name: [f"{name}-{i:05d}-of-{count:05d}{end}" for i in range(count)]
        for name, count in zip(names, [min(config.shards, size) for size in sizes], strict=True)
    }


def _tasks(
    rows: Path, labels: Path, length: int, folder: Path, names: dict[str, list[str]]
) -> Iterable[_Shards]:
    """Yields writers' tasks, up to eight shards each: a writer reads all rows for them."""
    for label, files in enumerate(names.values()):
        for start in range(0, len(files), 8):
            own = {i: folder / files[i] for i in range(start, min(start + 8, len(files)))}
            yield _Shards(rows, labels, label, length, len(files), own)


def _write_shards(task: _Shards) -> list[tuple[str, int, str]]:
    """Writes example i of a split to shard i modulo their count, for the task's shards; returns
    each file's name, size in bytes and SHA-256."""
    shape, labels, done = layout.of(task.length), np.load(task.labels, mmap_mode="r"), 0
    plain = {index: path.open("wb") for index, path in task.files.items()}
    packed = {
        index: gzip.GzipFile("", "wb", 6, file, mtime=0)
        for index, file in plain.items()
        if task.files[index].suffix == ".gz"
    }
    with task.rows.open("rb") as rows_file:
        for start in range(0, len(labels), _BLOCK):
            block = np.fromfile(rows_file, spool.row_type(task.length), _BLOCK)
            own = np.flatnonzero(labels[start : start + len(block)] == task.label)
            for index, file in (plain | packed).items():
                rows = block[own[(index - done) % task.shards :: task.shards]]
                examples = text.Examples(rows["letters"], rows["expression"])
                file.write(shards.frames(examples, shape))
            done += len(own)
    for file in [*packed.values(), *plain.values()]:
        file.close()
    return [(path.name, path.stat().st_size, _sha256(path)) for path in task.files.values()]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _written(
    results: Iterable[list[tuple[str, int, str]]],
    labels: np.ndarray,
    names: dict[str, list[str]],
    report: progress.Report,
) -> dict[str, dict]:
    """Returns the manifest's entry for each split, when all its shards are written."""
    sizes = dict(zip(names, np.bincount(labels).tolist(), strict=True))
    made, written = {}, 0
    for result in results:
        for name, size, digest in result:
            split = name[: name.rindex("-of-")].rpartition("-")[0]
            index, count = names[split].index(name), len(names[split])
            examples = len(range(index, sizes[split], count))
            made[name] = {"file": name, "examples": examples, "bytes": size, "sha256": digest}
            written += examples
        report("writing", written, len(labels))
    return {
        name: {"examples": sizes[name], "shards": [made[file] for file in files]}
        for name, files in names.items()
    }


def _manifest(
    gathered: spool.Spool,
    rule: rules.Rule,
    config: recipe.RecordsConfig,
    fractions: dict[str, Fraction],
    written: dict[str, dict],
    near: dict | None,
) -> manifest.Manifest:
    expression = np.concatenate(gathered.expression).astype(np.float64)
    hashes = np.sort(np.concatenate(gathered.hashes))
    return manifest.Manifest(
        schema_version=manifest.SCHEMA_VERSION,
        sequence_length=rule.length,
        features={"sequence": "bytes", "expression": "float"},
        rule=dataclasses.asdict(rule),
        counts=dataclasses.asdict(gathered.counts),
        split={
            "by": config.split_by,
            "seed": config.seed,
            "fractions": {name: float(fraction) for name, fraction in fractions.items()},
        },
        splits=written,
        expression={
            "min": float(expression.min()),
            "max": float(expression.max()),
            "mean": float(expression.mean()),
            "std": float(expression.std()),
            "integer_fraction": float(np.mean(expression == np.round(expression))),
        },
        source=gathered.sources,
        duplicates=int(np.count_nonzero(hashes[1:] == hashes[:-1])),
        near_neighbours=near,
        created_by={"version": camformer_tf.__version__},
    )

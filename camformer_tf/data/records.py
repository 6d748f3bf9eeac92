"""Sharded TFRecords and their manifest: write a set from text, read a split back."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import numpy as np
import tensorflow as tf

import camformer_tf
from camformer_tf import errors, progress, recipe, rundir
from camformer_tf.data import layout, manifest, rules, sequence, splits, text

_BLOCK = 1 << 16  # examples written or read at a time
_SHOWN_REJECTS = 5
_DEFAULTS = recipe.RecordsConfig()


@dataclasses.dataclass
class _Build:
    """What the text held, gathered while its kept examples go to a spool file."""

    counts: text.Counts = dataclasses.field(default_factory=text.Counts)
    rejects: list[str] = dataclasses.field(default_factory=list)
    expression: list[np.ndarray] = dataclasses.field(default_factory=list)
    hashes: list[np.ndarray] = dataclasses.field(default_factory=list)
    sources: list[dict] = dataclasses.field(default_factory=list)


def write(
    text_files: Sequence[Path],
    out_dir: Path,
    *,
    rule: rules.Rule,
    config: recipe.RecordsConfig = _DEFAULTS,
    overwrite: bool = False,
    report: progress.Report = progress.silent,
) -> manifest.Manifest:
    """Writes text files as a record set and returns its manifest.

    The set is written beside `out_dir` and takes that name once it is whole. The same text, options
    and seed give the same bytes.

    Args:
        text_files: files of SEQUENCE<TAB>EXPRESSION lines; .gz is unpacked, "-" is standard input.
        rule: which sequences are kept, and at what length.
        config: split "random" (exact counts) or "hash" (of the sequence); shards a split, at most
            one an example; a malformed line refuses the text ("error") or is left out ("skip").

    Raises:
        errors.UserError: unreadable, malformed or empty text, a split that cannot be filled, or an
            `out_dir` that exists.
    """
    fractions = splits.parse_fractions(config.split)
    with rundir.new_folder(out_dir, overwrite=overwrite, marker=manifest.FILE) as folder:
        spool = folder / "spool"
        build = _spool(text_files, spool, rule, config.seed, report)
        _check(build, text_files, config.on_malformed)
        if config.split_by == "hash":
            labels = splits.by_hash(np.concatenate(build.hashes), fractions)
        else:
            labels = splits.random(build.counts.kept, fractions, config.seed)
        shards = _names(labels, list(fractions), config.shards)
        _write_shards(spool, folder, rule.length, labels, shards, report)
        spool.unlink()
        made = _manifest(build, rule, config, fractions, _described(folder, labels, shards))
        manifest.save(made, folder)
    return made


def read(folder: Path, split: str, first: int | None = None) -> text.Examples:
    """Returns a split in the order of its text: letters uint8 (N, L), expression float32 (N,).

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
    shards, size = described.splits[split]["shards"], described.examples(split)
    count = size if first is None else min(first, size)
    shape = layout.of(described.sequence_length)
    letters = np.empty((count, described.sequence_length), np.uint8)
    expression = np.empty(count, np.float32)
    # Example i of a split lies in shard i modulo their count.
    for index, shard in enumerate(shards):
        own = expression[index :: len(shards)]
        part = _read_shard(folder / shard["file"], shape, -1 if count == size else len(own))
        if len(part.expression) != len(own):
            raise errors.UserError(
                f"{folder / shard['file']}: holds {len(part.expression)} examples, the manifest "
                f"says {shard['examples']}. Build the records again."
            )
        letters[index :: len(shards)] = part.letters
        own[:] = part.expression
    return text.Examples(letters, expression)


def head(folder: Path, split: str, count: int) -> list[tuple[str, float]]:
    """Returns the first examples of a split as (sequence, expression)."""
    first = read(folder, split, count)
    return list(zip(sequence.text(first.letters), first.expression.tolist(), strict=True))


def _spool(
    text_files: Sequence[Path], spool: Path, rule: rules.Rule, seed: int, report: progress.Report
) -> _Build:
    build = _Build()
    with spool.open("wb") as out:
        for source in [text.Source(path) for path in text_files]:
            for lines, first in source.chunks():
                examples, counts, rejects = text.parse(lines, rule, source.name, first)
                build.counts.add(counts)
                build.rejects += rejects[: _SHOWN_REJECTS - len(build.rejects)]
                build.expression.append(examples.expression)
                build.hashes.append(splits.hashes(examples.letters, seed))
                rows = np.empty(counts.kept, _spool_type(rule.length))
                rows["letters"], rows["expression"] = examples.letters, examples.expression
                rows.tofile(out)
                report("reading", build.counts.lines, 0)
            name, digest = Path(source.name).name, source.digest.hexdigest()
            build.sources.append(
                {"name": name, "bytes": source.size, "sha256": digest, "lines": source.lines}
            )
    return build


def _spool_type(length: int) -> np.dtype:
    return np.dtype([("letters", np.uint8, (length,)), ("expression", np.float32)])


def _check(build: _Build, text_files: Sequence[Path], on_malformed: str) -> None:
    names = ", ".join(str(path) for path in text_files)
    if build.counts.malformed and on_malformed == "error":
        raise errors.UserError(
            f"{build.counts.malformed:,} of {build.counts.lines:,} lines are malformed:\n"
            + "\n".join(f"  {reject}" for reject in build.rejects)
            + ("\n  …" if build.counts.malformed > len(build.rejects) else "")
            + "\nMend them, or pass --on-malformed skip to leave such lines out."
        )
    if not build.counts.lines:
        raise errors.UserError(f"{names}: no line to read. Expected SEQUENCE<TAB>EXPRESSION lines.")
    if not build.counts.kept:
        counts = build.counts
        raise errors.UserError(
            f"{names}: none of {counts.lines:,} lines is kept ({counts.malformed:,} malformed, "
            f"{counts.dropped_n:,} with too many N, {counts.dropped_length:,} of wrong length). "
            "See --length, --length-margin and --max-n."
        )


def _names(labels: np.ndarray, names: list[str], shards: int) -> dict[str, list[str]]:
    """Returns the file names of each split's shards: as many as asked, at most one an example."""
    sizes = np.bincount(labels, minlength=len(names)).tolist()
    if empty := [name for name, size in zip(names, sizes, strict=True) if not size]:
        raise errors.UserError(
            f"{len(labels)} sequences are too few: no sequence falls into {', '.join(empty)}."
        )
    return {
        name: [f"{name}-{i:05d}-of-{count:05d}.tfrecord" for i in range(count)]
        for name, count in zip(names, [min(shards, size) for size in sizes], strict=True)
    }


def _write_shards(
    spool: Path,
    folder: Path,
    length: int,
    labels: np.ndarray,
    shards: dict[str, list[str]],
    report: progress.Report,
) -> None:
    """Writes example i of a split to shard i modulo their count."""
    shape = layout.of(length)
    with ExitStack() as stack, spool.open("rb") as source:
        writers = {
            name: [stack.enter_context(tf.io.TFRecordWriter(str(folder / f))) for f in files]
            for name, files in shards.items()
        }
        written = dict.fromkeys(shards, 0)
        for start in range(0, len(labels), _BLOCK):
            block = np.fromfile(source, _spool_type(length), _BLOCK)
            for label, name in enumerate(shards):
                part = block[labels[start : start + len(block)] == label]
                rows = layout.serialize(text.Examples(part["letters"], part["expression"]), shape)
                for i, row in enumerate(rows, written[name]):
                    writers[name][i % len(writers[name])].write(row.tobytes())
                written[name] += len(part)
            report("writing", start + len(block), len(labels))


def _described(folder: Path, labels: np.ndarray, shards: dict[str, list[str]]) -> dict[str, dict]:
    """Returns the manifest's entry for each split."""
    described = {}
    for (name, files), size in zip(shards.items(), np.bincount(labels).tolist(), strict=True):
        described[name] = {"examples": size, "shards": []}
        for i, file in enumerate(files):
            with (folder / file).open("rb") as data:
                digest = hashlib.file_digest(data, "sha256").hexdigest()
            described[name]["shards"].append(
                {
                    "file": file,
                    "examples": len(range(i, size, len(files))),
                    "bytes": (folder / file).stat().st_size,
                    "sha256": digest,
                }
            )
    return described


def _read_shard(path: Path, shape: layout.Layout, count: int) -> text.Examples:
    """Returns the first `count` examples of a shard, all of them for -1."""
    length = shape.letters.stop - shape.letters.start
    parts = [text.Examples(np.empty((0, length), np.uint8), np.empty(0, np.float32))]
    try:
        data = tf.data.TFRecordDataset(str(path)).take(count).batch(_BLOCK)
        for batch in data.as_numpy_iterator():
            parts.append(layout.parse(batch, shape, str(path)))
    except tf.errors.NotFoundError as error:
        raise errors.UserError(f"{path}: no such file. Build the records again.") from error
    except tf.errors.DataLossError as error:
        raise errors.UserError(
            f"{path}: is cut short or damaged. Build the records again."
        ) from error
    return text.Examples(
        np.concatenate([part.letters for part in parts]),
        np.concatenate([part.expression for part in parts]),
    )


def _manifest(
    build: _Build,
    rule: rules.Rule,
    config: recipe.RecordsConfig,
    fractions: dict[str, Fraction],
    written: dict[str, dict],
) -> manifest.Manifest:
    expression = np.concatenate(build.expression).astype(np.float64)
    distinct = len(np.unique(np.concatenate(build.hashes)))
    return manifest.Manifest(
        schema_version=manifest.SCHEMA_VERSION,
        sequence_length=rule.length,
        features={"sequence": "bytes", "expression": "float"},
        rule=dataclasses.asdict(rule),
        counts=dataclasses.asdict(build.counts),
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
        source=build.sources,
        duplicates=len(expression) - distinct,
        created_by={"version": camformer_tf.__version__},
    )

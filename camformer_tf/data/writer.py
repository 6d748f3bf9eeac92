"""The shards of a record set, written from gathered rows by several processes."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from camformer_tf import errors, progress, recipe
from camformer_tf.data import layout, shards, spool, text, workers

_COPIED = 1 << 20  # bytes packed at a time


@dataclasses.dataclass(frozen=True)
class _Task:
    """Some of the gathered examples, how many of each split come before them, and its shards."""

    part: spool.Part
    before: list[int]
    files: list[list[Path]]


def names(
    labels: np.ndarray, splits: list[str], config: recipe.RecordsConfig
) -> dict[str, list[str]]:
    """Returns the file names of each split's shards: as many as asked, at most one an example."""
    sizes = np.bincount(labels, minlength=len(splits)).tolist()
    if empty := [name for name, size in zip(splits, sizes, strict=True) if not size]:
        raise errors.UserError(
            f"{len(labels)} sequences are too few: no sequence falls into {', '.join(empty)}."
        )
    end = ".tfrecord.gz" if config.compression == "gzip" else ".tfrecord"
    return {
        name: [f"{name}-{i:05d}-of-{count:05d}{end}" for i in range(count)]
        for name, count in zip(splits, [min(config.shards, size) for size in sizes], strict=True)
    }


def write(
    parts: Sequence[spool.Part],
    labels: np.ndarray,
    folder: Path,
    files: dict[str, list[str]],
    run: workers.Run,
    report: progress.Report,
) -> dict[str, dict]:
    """Writes all shards and returns the manifest's entry for each split.

    All records have one size, so each part of the examples has its known places in every shard.
    """
    paths = [[folder / name.removesuffix(".gz") for name in own] for own in files.values()]
    for path in (path for own in paths for path in own):
        path.touch()

    def tasks() -> Iterator[_Task]:
        before = np.zeros(len(files), int)
        for part in parts:
            yield _Task(part, before.tolist(), paths)
            own = labels[part.first : part.first + int(part.rows.counts.sum())]
            before += np.bincount(own, minlength=len(files))

    written = 0
    for count in run(_write_part, tasks()):
        written += count
        report("writing", written, len(labels))
    finished = run(_finish, (folder / name for own in files.values() for name in own))
    described = {}
    for (name, own), size in zip(files.items(), np.bincount(labels).tolist(), strict=True):
        entries = [
            {"file": file, "examples": len(range(i, size, len(own)))} | next(finished)
            for i, file in enumerate(own)
        ]
        described[name] = {"examples": size, "shards": entries}
    return described


def _write_part(task: _Task) -> int:
    """Writes example i of a split to shard i modulo their count, for some of the examples."""
    rows, labels = task.part.read()
    weighted = task.part.rows.weighted
    weight = rows["weight"] if weighted else None
    examples = text.Examples(rows["letters"], rows["expression"], weight)
    frames = shards.frames(examples, layout.of(task.part.rows.length, weighted=weighted))
    for label, (before, files) in enumerate(zip(task.before, task.files, strict=True)):
        own = np.flatnonzero(labels == label)
        for i, path in enumerate(files):
            first = (i - before) % len(files)
            with path.open("r+b") as file:
                file.seek((before + first) // len(files) * frames.shape[1])
                file.write(frames[own[first :: len(files)]])
    return len(rows)


def _finish(path: Path) -> dict[str, int | str]:
    """Packs a shard if its name says so, and returns its size in bytes and its SHA-256."""
    if path.suffix == ".gz":
        plain = path.with_suffix("")
        with (
            plain.open("rb") as source,
            path.open("wb") as file,
            gzip.GzipFile("", "wb", 6, file, mtime=0) as packed,
        ):
            shutil.copyfileobj(source, packed, _COPIED)
        plain.unlink()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}

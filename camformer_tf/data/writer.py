"""Only for `records.build_records`: the shards of a set, written by several processes."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from camformer_tf import errors, progress, recipe
from camformer_tf.data import layout, shards, spool, text, workers

_COPY_BYTES = 1 << 20  # packed per round


@dataclasses.dataclass(frozen=True)
class _WriteTask:
    """Some of the examples, as a task for another process.

    Attributes:
        part: the examples.
        offsets: for each split, how many of its examples come before this part.
        files: for each split, its shards.
    """

    part: spool.SpooledPart
    offsets: list[int]
    files: list[list[Path]]


def names(
    labels: np.ndarray, splits: list[str], config: recipe.RecordsConfig
) -> dict[str, list[str]]:
    """Returns the file names of each split's shards: `config.shards`, at most one per example."""
    sizes = np.bincount(labels, minlength=len(splits)).tolist()
    if empty := [name for name, size in zip(splits, sizes, strict=True) if not size]:
        noun = "sequence is" if len(labels) == 1 else "sequences are"
        raise errors.UserError(
            f"{len(labels):,} {noun} too few: no sequence falls into {', '.join(empty)}."
        )
    end = ".tfrecord.gz" if config.compression == "gzip" else ".tfrecord"
    counts = [min(config.shards, size) for size in sizes]
    return {
        name: [f"{name}-{i:05d}-of-{count:05d}{end}" for i in range(count)]
        for name, count in zip(splits, counts, strict=True)
    }


def write(
    parts: Sequence[spool.SpooledPart],
    labels: np.ndarray,
    folder: Path,
    files: dict[str, list[str]],
    mapper: workers.Mapper,
    report: progress.Report,
) -> dict[str, dict[str, Any]]:
    """Writes all shards and returns the manifest's entry for each split.

    All records have one size, so the place of every example in its shard is known beforehand, and
    the parts can be written in any order.

    Args:
        parts: all examples, in the order of the text.
        labels: uint8 (N,), the index of each example's split.
        folder: the folder of the shards.
        files: the file names of each split's shards.
        mapper: as in `workers.pool`.
        report: a report of the examples written.
    """
    paths = [[folder / name.removesuffix(".gz") for name in split] for split in files.values()]
    for path in (path for split in paths for path in split):
        path.touch()

    def tasks() -> Iterator[_WriteTask]:
        offsets = np.zeros(len(files), int)
        for part in parts:
            yield _WriteTask(part, offsets.tolist(), paths)
            # The next part follows the examples of this one in every split.
            part_labels = labels[part.first : part.first + int(part.rows.counts.sum())]
            offsets += np.bincount(part_labels, minlength=len(files))

    total = 0
    for count in mapper(_write_part, tasks()):
        total += count
        report("writing", total, len(labels))
    # A shard is complete only when every part is written, so sealing is a pass of its own.
    seals = mapper(_seal, (folder / name for split in files.values() for name in split))
    entries = {}
    for (name, shard_names), size in zip(files.items(), np.bincount(labels).tolist(), strict=True):
        shard_entries = [
            {"file": file, "examples": len(range(i, size, len(shard_names)))} | next(seals)
            for i, file in enumerate(shard_names)
        ]
        entries[name] = {"examples": size, "shards": shard_entries}
    return entries


def _write_part(task: _WriteTask) -> int:
    """Writes example i of a split to shard i modulo their count, and returns how many it wrote."""
    rows, labels = task.part.read()
    has_weight = task.part.rows.has_weight
    weight = rows["weight"] if has_weight else None
    examples = text.Examples(rows["letters"], rows["expression"], weight)
    shape = layout.example_layout(task.part.rows.length, has_weight=has_weight)
    frames = shards.frames(examples, shape)  # (n, S + 16)
    for label, (offset, files) in enumerate(zip(task.offsets, task.files, strict=True)):
        members = np.flatnonzero(labels == label)  # (m,), rows of this split
        for i, path in enumerate(files):
            first = (i - offset) % len(files)  # the first of the members that goes to shard i
            with path.open("r+b") as file:
                file.seek((offset + first) // len(files) * frames.shape[1])
                file.write(frames[members[first :: len(files)]].data)
    return len(rows)


def _seal(path: Path) -> dict[str, int | str]:
    """Packs a shard if it is to be a .gz file, and returns its size in bytes and its SHA-256."""
    if path.suffix == ".gz":
        plain = path.with_suffix("")
        with (
            plain.open("rb") as source,
            path.open("wb") as target,
            gzip.GzipFile("", "wb", 6, target, mtime=0) as archive,  # no name, no time: same bytes
        ):
            shutil.copyfileobj(source, archive, _COPY_BYTES)
        plain.unlink()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}

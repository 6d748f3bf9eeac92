"""Whether a record set is as its manifest describes it, by its listing or to the last byte."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from camformer_tf import errors, files, progress, remote, wording
from camformer_tf.data import layout, manifest, shards

_IS_LETTER = np.zeros(256, bool)
_IS_LETTER[list(b"ACGTN")] = True


def verify_records(records_dir: files.PathLike, report: progress.Report | None = None) -> list[str]:
    """Reads every byte of a record set and returns its problems, one message for each.

    Args:
        records_dir: the folder of the records.
        report: receives the progress; by default a bar in a notebook or terminal.

    Raises:
        errors.UserError: there is no manifest, or it is not as it was written.
    """
    report, folder = progress.auto(report), remote.path(records_dir)
    records = manifest.load(folder)
    problems = listing(folder, records) + counts(folder, records)
    shape, total = records.layout, 0
    for split in records.splits.values():
        for shard in split["shards"]:
            path = folder / shard["file"]
            if path.is_file():  # `listing` names the others
                problems += _shard(path, shard, shape)
            total += shard["examples"]
            report("verifying", total, records.counts["kept"])
    return problems


def listing(folder: remote.AnyPath, records: manifest.Manifest) -> list[str]:
    """Returns where the folder's file names and sizes differ from the manifest; reads no shard."""
    sizes = {
        shard["file"]: shard["bytes"]
        for split in records.splits.values()
        for shard in split["shards"]
    }
    problems = []
    for file, size in sizes.items():
        path = folder / file
        if not path.is_file():
            problems.append(f"{path}: is missing")
        elif (actual := path.stat().st_size) != size:
            problems.append(f"{path}: has {actual:,} bytes, but the manifest says {size:,}")
    names = {path.name for path in folder.iterdir() if ".tfrecord" in path.name}
    return problems + [
        f"{folder / file}: not a shard of the manifest" for file in sorted(names - set(sizes))
    ]


def counts(folder: remote.AnyPath, records: manifest.Manifest) -> list[str]:
    """Returns where the numbers of the manifest contradict each other."""
    problems, path = [], folder / manifest.FILE
    for name, split in records.splits.items():
        total = sum(shard["examples"] for shard in split["shards"])
        if total != split["examples"]:
            problems.append(f"{path}: shards of {name} sum to {total}, not {split['examples']}")
    total = sum(split["examples"] for split in records.splits.values())
    if total != records.counts["kept"]:
        problems.append(f"{path}: splits sum to {total}, not the {records.counts['kept']} kept")
    parts = [records.counts[key] for key in ("malformed", "dropped_n", "dropped_length", "kept")]
    if sum(parts) != records.counts["lines"]:
        problems.append(f"{path}: counts do not sum to the {records.counts['lines']} lines")
    return problems


def _shard(path: remote.AnyPath, shard: dict[str, Any], shape: layout.Layout) -> list[str]:
    """Returns the problems of one shard."""
    # The checksum of the file finds any change; the records say where it is.
    same_bytes = hashlib.sha256(path.read_bytes()).hexdigest() == shard["sha256"]
    try:
        examples = shards.parse(shards.read_bytes(path), shape, str(path))
    except errors.UserError as error:
        return [str(error).removesuffix(f" {shards.REBUILD}").rstrip(".")]
    problems = []
    if (count := len(examples.expression)) != shard["examples"]:
        problems.append(
            f"{path}: holds {wording.count(count, 'example')}, "
            f"but the manifest says {shard['examples']:,}"
        )
    strange = ~_IS_LETTER[examples.letters].all(axis=1)  # (N, L) → (N,)
    strange |= ~np.isfinite(examples.expression)
    if examples.weight is not None:
        strange |= ~((examples.weight >= 0) & np.isfinite(examples.weight))
    if strange.any():
        record = int(np.argmax(strange))
        problems.append(f"{path}: record {record} is not a sequence with its expression")
    if not same_bytes and not problems:
        problems.append(f"{path}: every record is whole, but the records are not those written")
    return problems

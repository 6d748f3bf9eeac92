"""Whether a record set is what its manifest says, from the folder's listing or to the last byte."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from camformer_tf import errors, progress
from camformer_tf.data import layout, manifest, shards

_LETTERS = np.zeros(256, bool)
_LETTERS[list(b"ACGTN")] = True


def listing(folder: Path, described: manifest.Manifest) -> list[str]:
    """Returns what the folder's file names and sizes have against the manifest; reads no shard."""
    expected = {
        shard["file"]: shard["bytes"]
        for split in described.splits.values()
        for shard in split["shards"]
    }
    problems = []
    for file, size in expected.items():
        path = folder / file
        if not path.is_file():
            problems.append(f"{path}: is missing")
        elif path.stat().st_size != size:
            found = path.stat().st_size
            problems.append(f"{path}: has {found:,} bytes, the manifest says {size:,}")
    found = {path.name for path in folder.iterdir() if ".tfrecord" in path.name}
    return problems + [
        f"{folder / file}: is no shard of the manifest" for file in sorted(found - set(expected))
    ]


def counts(folder: Path, described: manifest.Manifest) -> list[str]:
    """Returns where the manifest's numbers contradict each other."""
    problems, path = [], folder / manifest.FILE
    for name, split in described.splits.items():
        total = sum(shard["examples"] for shard in split["shards"])
        if total != split["examples"]:
            problems.append(f"{path}: shards of {name} sum to {total}, not {split['examples']}")
    total = sum(split["examples"] for split in described.splits.values())
    if total != described.counts["kept"]:
        problems.append(f"{path}: splits sum to {total}, not the {described.counts['kept']} kept")
    *parts, kept = (
        described.counts[k] for k in ("malformed", "dropped_n", "dropped_length", "kept")
    )
    if sum(parts) + kept != described.counts["lines"]:
        problems.append(f"{path}: counts do not sum to the {described.counts['lines']} lines")
    return problems


def verify(folder: Path, report: progress.Report = progress.silent) -> list[str]:
    """Reads every byte of a record set and returns what is wrong, one message a finding.

    Raises:
        errors.UserError: there is no manifest, or it is not the one that was written.
    """
    described = manifest.load(folder)
    problems = listing(folder, described) + counts(folder, described)
    shape, done = described.layout, 0
    for split in described.splits.values():
        for shard in split["shards"]:
            path = folder / shard["file"]
            if path.is_file():
                problems += _shard(path, shard, shape)
            done += shard["examples"]
            report("verifying", done, described.counts["kept"])
    return problems


def _shard(path: Path, shard: dict, shape: layout.Layout) -> list[str]:
    same = hashlib.sha256(path.read_bytes()).hexdigest() == shard["sha256"]
    try:
        examples = shards.parse(shards.read_bytes(path), shape, str(path))
    except errors.UserError as error:
        return [str(error).removesuffix(f" {shards.REBUILD}").rstrip(".")]
    problems = []
    if len(examples.expression) != shard["examples"]:
        found = len(examples.expression)
        problems.append(f"{path}: holds {found} examples, the manifest says {shard['examples']}")
    strange = ~_LETTERS[examples.letters].all(axis=1) | ~np.isfinite(examples.expression)
    if examples.weight is not None:
        strange |= ~((examples.weight >= 0) & np.isfinite(examples.weight))
    if strange.any():
        problems.append(f"{path}: record {int(np.argmax(strange))} is no sequence and expression")
    if not same and not problems:
        problems.append(f"{path}: every record is whole, but they are not those that were written")
    return problems

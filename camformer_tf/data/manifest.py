"""manifest.json, the description of a record set; it is written last, so a set with it is whole."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from camformer_tf import errors, remote, wording
from camformer_tf.data import layout

FILE = "manifest.json"
SCHEMA_VERSION = 1

_REBUILD = "Build the records again."


@dataclasses.dataclass(frozen=True, repr=False)
class Manifest:
    """The contents of manifest.json; tfrecords/README.md describes the keys."""

    schema_version: int
    sequence_length: int
    features: dict[str, str]
    rule: dict[str, Any]
    counts: dict[str, int]
    split: dict[str, Any]
    splits: dict[str, Any]
    expression: dict[str, float]
    source: list[dict[str, Any]]
    duplicates: int
    near_neighbours: dict[str, Any] | None
    created_by: dict[str, str]
    weight: dict[str, float] | None = None

    def __repr__(self) -> str:
        return self.summary()

    @property
    def layout(self) -> layout.Layout:
        """The layout of every record."""
        return layout.example_layout(self.sequence_length, has_weight="weight" in self.features)

    def examples(self, split: str) -> int:
        """Returns the number of examples of a split."""
        return self.splits[split]["examples"]

    def shards(self, split: str) -> list[str]:
        """Returns the file names of a split's shards, in order."""
        return [shard["file"] for shard in self.splits[split]["shards"]]

    def summary(self) -> str:
        """Returns the manifest in a few lines for a person."""
        counts, expression = self.counts, self.expression
        lines = [
            f"{wording.count(counts['lines'], 'line')}: {counts['kept']:,} kept, "
            f"{counts['malformed']:,} malformed, "
            f"{counts['dropped_n']:,} with more than {self.rule['max_n']} N, "
            f"{counts['dropped_length']:,} of wrong length",
            f"sequences of {self.sequence_length} nt, {self.duplicates:,} of them "
            f"{'repeats' if self.duplicates == 1 else 'repeat'} another",
            f"expression {expression['min']:g} to {expression['max']:g}, mean "
            f"{expression['mean']:.4f}, sd {expression['std']:.4f}, "
            f"{expression['integer_fraction']:.1%} integers",
        ]
        if self.weight:
            lines.append("weights {min:g} to {max:g}, mean {mean:.4f}".format(**self.weight))
        lines.append(f"split by {self.split['by']} (seed {self.split['seed']}):")
        return "\n".join([*lines, *map(self._split_summary, self.splits)])

    def _split_summary(self, name: str) -> str:
        """Returns the line of one split."""
        split = self.splits[name]
        line = f"  {name}: {split['examples']:,} in {wording.count(len(split['shards']), 'shard')}"
        neighbours = self.near_neighbours
        if neighbours is None or name not in neighbours["in_training"]:
            return line
        count, limit = neighbours["in_training"][name], neighbours["mismatches"]
        return (
            f"{line}; {count:,} ({count / split['examples']:.1%}) "
            f"{'has' if count == 1 else 'have'} a neighbour within "
            f"{wording.count(limit, 'letter')} in {next(iter(self.splits))}"
        )


def save(manifest: Manifest, folder: Path) -> None:
    """Writes manifest.json into the folder, with a checksum of itself."""
    values = dataclasses.asdict(manifest)
    if manifest.weight is None:  # sets without weights have the keys of earlier releases
        del values["weight"]
    values["checksum"] = _checksum(values)
    text = json.dumps(values, indent=2, allow_nan=False)
    (folder / FILE).write_text(text + "\n", encoding="utf-8")


def load(folder: remote.AnyPath) -> Manifest:
    """Returns the manifest of a records directory.

    Raises:
        errors.UserError: there is no manifest, it is broken, or another version wrote it.
    """
    if not (folder / FILE).is_file():
        problem = f"there is no {FILE} in it" if folder.is_dir() else "there is no such folder"
        raise errors.UserError(
            f"{folder}: not a record set: {problem}. "
            "Build one: camformer-tf build-records TEXT OUT_DIR"
        )
    return read(folder / FILE)


def read(path: remote.AnyPath) -> Manifest:
    """Returns the manifest in a file.

    Raises:
        errors.UserError: it is broken, or another version wrote it.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        version = values["schema_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.UserError(
            f"{path}: not a readable manifest ({error!r}). {_REBUILD}"
        ) from error
    if version != SCHEMA_VERSION:
        raise errors.UserError(
            f"{path}: has schema version {version}, but this version of camformer_tf reads "
            f"{SCHEMA_VERSION}. Upgrade camformer_tf, or build the records again."
        )
    fields = dataclasses.fields(Manifest)
    mandatory = {field.name for field in fields if field.default is dataclasses.MISSING}
    if missing := mandatory - set(values):
        raise errors.UserError(f"{path}: lacks {', '.join(sorted(missing))}. {_REBUILD}")
    if values.pop("checksum", None) != _checksum(values):
        raise errors.UserError(
            f"{path}: does not match its checksum, so it was changed after it was written. "
            f"{_REBUILD}"
        )
    names = {field.name for field in fields}  # keys of later releases are ignored
    return Manifest(**{name: value for name, value in values.items() if name in names})


def _checksum(values: dict[str, Any]) -> str:
    """Returns the SHA-256 of all other values, as JSON with sorted keys and no white space."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()

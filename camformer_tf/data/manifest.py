"""manifest.json: what a record set holds. Written last, so that a set with a manifest is whole."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from camformer_tf import errors
from camformer_tf.data import layout

FILE = "manifest.json"
SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The contents of manifest.json; the keys are described in tfrecords/README.md."""

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

    @property
    def layout(self) -> layout.Layout:
        """The bytes of every record."""
        return layout.of(self.sequence_length, weighted="weight" in self.features)

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
            f"{counts['lines']:,} lines: {counts['kept']:,} kept, "
            f"{counts['malformed']:,} malformed, "
            f"{counts['dropped_n']:,} with more than {self.rule['max_n']} N, "
            f"{counts['dropped_length']:,} of wrong length",
            f"sequences of {self.sequence_length} nt, {self.duplicates:,} of them repeat another",
            f"expression {expression['min']:g} to {expression['max']:g}, mean "
            f"{expression['mean']:.4f}, sd {expression['std']:.4f}, "
            f"{expression['integer_fraction']:.1%} integers",
            *(
                ["weights {min:g} to {max:g}, mean {mean:.4f}".format(**self.weight)]
                if self.weight
                else []
            ),
            f"split by {self.split['by']} (seed {self.split['seed']}):",
        ]
        near = self.near_neighbours or {"in_training": {}}
        for name, split in self.splits.items():
            lines.append(f"  {name}: {split['examples']:,} in {len(split['shards'])} shards")
            if name in near["in_training"]:
                count = near["in_training"][name]
                lines[-1] += (
                    f"; {count:,} ({count / split['examples']:.1%}) have a neighbour within "
                    f"{near['mismatches']} letters in {next(iter(self.splits))}"
                )
        return "\n".join(lines)


def save(manifest: Manifest, folder: Path) -> None:
    """Writes manifest.json into the folder, with its own checksum."""
    values = dataclasses.asdict(manifest)
    if manifest.weight is None:
        del values["weight"]
    values["checksum"] = _checksum(values)
    text = json.dumps(values, indent=2, allow_nan=False)
    (folder / FILE).write_text(text + "\n", encoding="utf-8")


def load(folder: Path) -> Manifest:
    """Returns the manifest of a records directory.

    Raises:
        errors.UserError: there is none, it is broken, or another version wrote it.
    """
    if not (folder / FILE).is_file():
        what = "holds no manifest.json" if folder.is_dir() else "is no directory"
        raise errors.UserError(
            f"{folder}: {what}, so it is no finished record set. "
            "Make one: camformer-tf build-records TEXT OUT_DIR"
        )
    return read(folder / FILE)


def read(path: Path) -> Manifest:
    """Returns the manifest in a file.

    Raises:
        errors.UserError: it is broken, or another version wrote it.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        version = values["schema_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.UserError(
            f"{path}: is no readable manifest ({error!r}). {_REBUILD}"
        ) from error
    if version != SCHEMA_VERSION:
        raise errors.UserError(
            f"{path}: schema version {version}, this version of camformer_tf reads "
            f"{SCHEMA_VERSION}. Upgrade camformer_tf, or build the records again."
        )
    fields = dataclasses.fields(Manifest)
    needed = {field.name for field in fields if field.default is dataclasses.MISSING}
    if missing := needed - set(values):
        raise errors.UserError(f"{path}: lacks {', '.join(sorted(missing))}. {_REBUILD}")
    if values.pop("checksum", None) != _checksum(values):
        raise errors.UserError(
            f"{path}: does not match its checksum, so it is not as it was written. {_REBUILD}"
        )
    names = {field.name for field in fields}
    return Manifest(**{name: value for name, value in values.items() if name in names})


def _checksum(values: dict[str, Any]) -> str:
    """Returns the SHA-256 of all other values, as JSON with sorted keys and no white space."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


_REBUILD = "Build the records again."

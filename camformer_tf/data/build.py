"""Only for `records.build_records`: the steps from text files to a record set."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

import camformer_tf
from camformer_tf import errors, files, progress, recipe, remote
from camformer_tf.data import (
    family,
    leakage,
    manifest,
    rules,
    splits,
    spool,
    strands,
    workers,
    writer,
)

_SMALL_TEXT = 1 << 25  # bytes: less is read before other processes have started


def build(
    text_files: Sequence[remote.AnyPath],
    out_dir: remote.AnyPath,
    rule: rules.Rule,
    config: recipe.RecordsConfig,
    columns: dict[str, str] | None = None,
    overwrite: bool = False,
    report: progress.Report = progress.silent,
) -> manifest.Manifest:
    """Writes text files as a record set and returns its manifest.

    Args:
        text_files: files of SEQUENCE<TAB>EXPRESSION lines; .gz is unpacked, "-" is standard input.
        out_dir: the folder of the set.
        rule: which sequences are kept, and at what length.
        config: the other options.
        columns: for tables with a header, the names of the columns that hold `sequence`,
            `expression`, perhaps `weight` and, to split by column, `split`.
        overwrite: whether to replace a set.
        report: receives the progress.

    Raises:
        errors.UserError: see `records.build_records`.
    """
    by_column = config.split_by == "column"
    if by_column != ("split" in (columns or {})):
        raise errors.UserError("--split-by column and --split-column go together: give both.")
    fractions = {} if by_column else splits.parse_fractions(config.split)
    with (
        files.new_folder(out_dir, overwrite=overwrite, marker=manifest.FILE) as folder,
        workers.pool(_worker_count(config, text_files)) as mapper,
    ):
        rows_file, labels_file = folder / "rows", folder / "labels.npy"
        text = spool.gather(text_files, rows_file, rule, config.seed, columns, mapper, report)
        spool.check(text, text_files, config.on_malformed)
        parts = list(text.parts(labels_file))  # tasks that know the file of labels, written below
        library = strands.columns(text.letter_counts, text.counts.examples)
        report("splitting", 0, text.counts.examples)
        if by_column:
            labels, fractions = splits.by_column(text.split)
        else:
            labels = _labels(text, parts, library, config, fractions)
        names = list(fractions)
        np.save(labels_file, labels)
        shard_files = writer.names(labels, names, config)
        neighbours = None
        if config.leakage and len(names) > 1:
            leaks = leakage.leaks(parts, library, folder, mapper, mismatches=config.mismatches)
            neighbours = _near_neighbours(leaks, labels[labels != 0], names, config)
        entries = writer.write(parts, labels, folder, shard_files, mapper, report)
        rows_file.unlink()
        labels_file.unlink()
        description = _manifest(text, rule, config, fractions, entries, neighbours)
        manifest.save(description, folder)
    return description


def _worker_count(config: recipe.RecordsConfig, text_files: Sequence[remote.AnyPath]) -> int:
    """Returns how many processes to use: one for a small text."""
    sizes = [path.stat().st_size for path in text_files if str(path) != "-" and path.is_file()]
    is_small = len(sizes) == len(text_files) and sum(sizes) < _SMALL_TEXT
    return 1 if is_small else config.workers


def _labels(
    text: spool.Spool,
    parts: Sequence[spool.SpooledPart],
    library: strands.Columns,
    config: recipe.RecordsConfig,
    fractions: dict[str, Fraction],
) -> np.ndarray:
    """Returns the index of each example's split: uint8 (N,)."""
    total = text.counts.examples
    if config.split_by == "family":
        letters = (part.rows.read()["letters"] for part in parts)
        sequences = strands.pack(letters, total, library)
        families = family.families(sequences, mismatches=config.mismatches)
        return splits.by_family(families, fractions, config.seed)
    if config.split_by == "hash":
        return splits.by_hash(np.concatenate(text.hashes), fractions)
    if config.split_by == "stratified":
        return splits.stratify(np.concatenate(text.expression), fractions, config.seed)
    return splits.random(total, fractions, config.seed)


def _near_neighbours(
    leaks: np.ndarray, labels: np.ndarray, names: list[str], config: recipe.RecordsConfig
) -> dict[str, Any]:
    """Returns how many sequences of each split but the first have a near one in the first.

    Args:
        leaks: bool (M,), which of the examples outside the first split have one.
        labels: uint8 (M,), the index of each one's split.
        names: the splits.
        config: the options of the set.
    """
    counts = np.bincount(labels[leaks], minlength=len(names)).tolist()  # per split; 0 in the first
    in_training = dict(zip(names[1:], counts[1:], strict=True))
    return {"mismatches": config.mismatches, "in_training": in_training}


def _manifest(
    text: spool.Spool,
    rule: rules.Rule,
    config: recipe.RecordsConfig,
    fractions: dict[str, Fraction],
    entries: dict[str, dict[str, Any]],
    neighbours: dict[str, Any] | None,
) -> manifest.Manifest:
    """Returns the manifest of a set whose shards are written."""
    duplicates = _duplicates(text.hashes)  # first, since it frees memory
    expression = np.concatenate(text.expression)
    return manifest.Manifest(
        schema_version=manifest.SCHEMA_VERSION,
        sequence_length=rule.length,
        features={"sequence": "bytes", "expression": "float"}
        | ({"weight": "float"} if text.weight else {}),
        rule=dataclasses.asdict(rule),
        counts=text.counts.manifest_keys(),
        split={
            "by": config.split_by,
            "seed": config.seed,
            "fractions": {name: float(fraction) for name, fraction in fractions.items()},
        },
        splits=entries,
        expression=_range(expression)
        | {
            "std": float(expression.std(dtype=np.float64)),
            "integer_fraction": float(np.mean(expression == np.round(expression))),
        },
        weight=_range(np.concatenate(text.weight)) if text.weight else None,
        source=text.sources,
        duplicates=duplicates,
        near_neighbours=neighbours,
        created_by={"version": camformer_tf.__version__},
    )


def _duplicates(hashes: list[np.ndarray]) -> int:
    """Returns how many sequences repeat another, and empties the list of hashes."""
    values = np.concatenate(hashes)
    hashes.clear()
    values.sort()  # equal sequences have equal hashes, which are neighbours now
    return int(np.count_nonzero(values[1:] == values[:-1]))


def _range(values: np.ndarray) -> dict[str, float]:
    mean = values.mean(dtype=np.float64)  # float32 sums lose digits
    return {"min": float(values.min()), "max": float(values.max()), "mean": float(mean)}

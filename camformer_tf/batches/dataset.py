"""A split as shuffled batches of letters, which become channels within the training step.

Every order is a function of (seed, epoch) alone, and of the mode: from memory an epoch is a uniform
shuffle; streamed, it is a shuffle of blocks of neighbouring records, and of the records within
windows of many blocks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import tensorflow as tf

from camformer_tf import errors, recipe
from camformer_tf.batches import targets
from camformer_tf.data import layout, manifest, records, shards, text

MODES = ("auto", "memory", "stream")

_SHARE = 0.5  # of the free memory that a split may take
_GATHERED = 1 << 14  # sequences put together at a time
_BLOCK = 1 << 10  # neighbouring records of a shard that stay together on the way to a window
_WINDOW = 1 << 7  # blocks shuffled together: 131,072 sequences, 15 MB
_EVERY_ONE = targets.Seen()


@dataclasses.dataclass(frozen=True)
class Batches:
    """A split's training batches: `epoch(index)` gives `steps` batches of letters uint8 (B, L) and
    expression float32 (B,), and weight float32 (B,) if the records have it; `mode` is "memory" or
    "stream". Where the batches are those of `workers` workers together, the `worker`-th part of
    each is this one's. `source` is which part of the records they come from.
    """

    mode: str
    examples: int
    steps: int
    epoch: Callable[[int], tf.data.Dataset]
    worker: int = 0
    workers: int = 1
    source: int = 0


def load(
    folder: Path,
    split: str,
    batch_size: int,
    *,
    seed: int,
    mode: str = "auto",
    worker: int = 0,
    workers: int = 1,
    seen: targets.Seen = _EVERY_ONE,
) -> Batches:
    """Returns a split as training batches. The last examples of an epoch, less than a batch, are
    left out, other ones each time.

    Args:
        batch_size: of all workers together.
        mode: "memory" holds the split (114 bytes a sequence of 110), "stream" reads it anew each
            epoch, "auto" takes memory if the split fits into half of what is free.
        worker, workers: this one of so many that train together. From memory all draw the same
            batches, so that their number changes nothing. Streaming, worker i reads the shards
            i, i + n, … and its batches are parts of its own; all make the same steps.
        seen: which examples an epoch shows, and how often.

    Raises:
        errors.UserError: a broken set, fewer shards than workers, or not one whole batch.
    """
    described = manifest.load(folder)
    files = described.splits[split]["shards"]
    if mode == "auto":
        free = psutil.virtual_memory().available * _SHARE
        size = described.examples(split) * (described.sequence_length + 4)
        mode = "memory" if size <= free else "stream"
    if mode == "memory":
        held = records.read(folder, split)
        times = seen.times_of(held)
        steps = _steps(folder, int(times.sum()), batch_size)
        epoch = from_memory(held, batch_size, steps, seed=seed, times=times)
        return Batches(mode, np.count_nonzero(times), steps, epoch, worker, workers)
    if len(files) < workers:
        raise errors.UserError(
            f"{folder}: {split} has {len(files)} shards, fewer than the {workers} workers. "
            f"Build the records with --shards {workers} or more."
        )
    counts = [_counts(folder, shard, described.layout, seen) for shard in files]
    share = batch_size // workers
    shown = [sum(times for _, times in counts[i::workers]) for i in range(workers)]
    steps = _steps(folder, min(shown), share)
    own = files[worker::workers]
    epoch = _from_shards(folder, own, described.layout, share, steps, seed, seen)
    return Batches(mode, sum(kept for kept, _ in counts), steps, epoch, source=worker)


def _steps(folder: Path, examples: int, batch_size: int) -> int:
    if examples < batch_size:
        raise errors.UserError(
            f"{folder}: {examples} training examples are fewer than one batch of {batch_size}. "
            "Pass --set train.batch_size=N with a smaller N."
        )
    return examples // batch_size


def from_memory(
    held: text.Examples,
    batch_size: int,
    steps: int,
    *,
    seed: int,
    times: np.ndarray | None = None,
) -> Callable[[int], tf.data.Dataset]:
    """Returns `Batches.epoch` of N examples in memory, each seen once, or so many `times`, int
    (N,): each epoch a uniform shuffle.
    """
    seen = np.arange(len(held.expression))
    seen = seen if times is None else np.repeat(seen, times)
    columns = [tf.constant(column) for column in _columns(held)]
    together = max(_GATHERED // batch_size, 1) * batch_size

    def epoch(index: int) -> tf.data.Dataset:
        order = tf.constant(_draw(seed, index).permutation(seen))

        def gather(start):
            rows = order[start : tf.minimum(start + together, steps * batch_size)]
            return tuple(
                tf.reshape(tf.gather(column, rows), [-1, batch_size, *column.shape[1:]])
                for column in columns
            )

        starts = tf.data.Dataset.range(0, steps * batch_size, together)
        gathered = starts.map(gather, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return gathered.prefetch(2).unbatch().prefetch(tf.data.AUTOTUNE)

    return epoch


def _from_shards(
    folder: Path,
    files: list[dict],
    shape: layout.Layout,
    batch_size: int,
    steps: int,
    seed: int,
    seen: targets.Seen,
) -> Callable[[int], tf.data.Dataset]:
    number = tf.TensorSpec([None, batch_size], tf.float32)
    length = shape.letters.stop - shape.letters.start
    signature = (
        tf.TensorSpec([None, batch_size, length], tf.uint8),
        number,
        *([number] if shape.weight else []),
    )

    def epoch(index: int) -> tf.data.Dataset:
        def batches():
            return _batches(_windows(folder, files, shape, seed, index, seen), batch_size)

        read = tf.data.Dataset.from_generator(batches, output_signature=signature)
        return read.prefetch(2).unbatch().take(steps).prefetch(tf.data.AUTOTUNE)

    return epoch


def _windows(
    folder: Path,
    files: list[dict],
    shape: layout.Layout,
    seed: int,
    index: int,
    seen: targets.Seen,
) -> Iterator[list[np.ndarray]]:
    """Yields the columns of the shards in shuffled windows of shuffled blocks."""
    draw = _draw(seed, index)
    packed = files[0]["file"].endswith(".gz")  # then a shard is a block: it has to be read whole
    blocks = [
        (folder / shard["file"], start, min(_BLOCK, shard["examples"] - start))
        for shard in files
        for start in ([0] if packed else range(0, shard["examples"], _BLOCK))
    ]
    blocks = [blocks[i] for i in draw.permutation(len(blocks))]
    for first in range(0, len(blocks), 1 if packed else _WINDOW):
        window = blocks[first : first + (1 if packed else _WINDOW)]
        parts = [_shown(_block(*block, shape), seen) for block in window]
        order = draw.permutation(sum(len(expression) for _, expression, *_ in parts))
        yield [np.concatenate(column)[order] for column in zip(*parts, strict=True)]


def _block(path: Path, start: int, count: int, shape: layout.Layout) -> text.Examples:
    if path.suffix == ".gz":
        return shards.parse(shards.read_bytes(path), shape, str(path))
    size = shards.record_bytes(shape)
    with path.open("rb") as file:
        file.seek(start * size)
        return shards.parse(file.read(count * size), shape, f"{path} from record {start}")


def _batches(
    windows: Iterator[list[np.ndarray]], batch_size: int
) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields whole batches, (K, B, …) each column; what a window leaves over joins the next."""
    rest = None
    for columns in windows:
        if rest:
            columns = [np.concatenate(pair) for pair in zip(rest, columns, strict=True)]
        whole = len(columns[0]) // batch_size * batch_size
        yield tuple(column[:whole].reshape(-1, batch_size, *column.shape[1:]) for column in columns)
        rest = [column[whole:] for column in columns]


def _columns(examples: text.Examples) -> list[np.ndarray]:
    """Returns letters, expression and, if there is one, weight."""
    columns = [examples.letters, examples.expression, examples.weight]
    return [column for column in columns if column is not None]


def _shown(examples: text.Examples, seen: targets.Seen) -> list[np.ndarray]:
    """Returns letters, expression, … with each example as often as it is seen."""
    if seen.all_once:
        return _columns(examples)
    times = seen.times_of(examples)
    return [np.repeat(column, times, axis=0) for column in _columns(examples)]


def _counts(folder: Path, shard: dict, shape: layout.Layout, seen: targets.Seen) -> tuple[int, int]:
    """Returns how many examples of a shard an epoch shows, and how often all of them together."""
    if seen.all_once:
        return shard["examples"], shard["examples"]
    path = folder / shard["file"]
    times = seen.times_of(shards.parse(shards.read_bytes(path), shape, str(path)))
    return np.count_nonzero(times), int(times.sum())


def _draw(seed: int, index: int) -> np.random.Generator:
    return np.random.default_rng([recipe.sub_seed(seed, "order"), index])

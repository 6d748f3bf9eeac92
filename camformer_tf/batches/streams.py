"""The shards of a split read anew in each epoch, in shuffled windows of shuffled blocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from camformer_tf import recipe, remote
from camformer_tf.batches import targets
from camformer_tf.data import layout, shards, text

_BLOCK = 1 << 10  # neighbouring records of a shard that stay together on the way to a window
_WINDOW = 1 << 7  # blocks that are shuffled together: 131,072 sequences, 15 MB


@dataclasses.dataclass(frozen=True)
class Stream:
    """The batches of some shards.

    Attributes:
        folder: the records directory.
        shards: the shards to read, as the manifest describes them.
        shape: the layout of their records.
        batch_size: B.
        steps: the number of batches in an epoch, which all workers make.
        seed: decides the order, together with the epoch.
        sampling: how often an epoch shows each example.
    """

    folder: remote.AnyPath
    shards: list[dict[str, Any]]
    shape: layout.Layout
    batch_size: int
    steps: int
    seed: int
    sampling: targets.Sampling

    def epoch(self, index: int) -> tf.data.Dataset:
        """Returns the batches of an epoch: letters uint8 (B, L), expression (B,), weight (B,)."""
        number = tf.TensorSpec([None, self.batch_size], tf.float32)
        length = self.shape.letters.stop - self.shape.letters.start
        signature = (
            tf.TensorSpec([None, self.batch_size, length], tf.uint8),
            number,
            *([number] if self.shape.weight else []),
        )

        def chunks() -> Iterator[tuple[np.ndarray, ...]]:
            return _whole_batches(self._windows(index), self.batch_size)

        dataset = tf.data.Dataset.from_generator(chunks, output_signature=signature)
        return dataset.prefetch(2).unbatch().take(self.steps).prefetch(tf.data.AUTOTUNE)

    def _windows(self, index: int) -> Iterator[list[np.ndarray]]:
        """Yields the columns of the shards in shuffled windows of shuffled blocks."""
        rng = generator(self.seed, index)
        is_compressed = self.shards[0]["file"].endswith(".gz")  # then a block is a whole shard
        blocks = [
            (self.folder / shard["file"], start, min(_BLOCK, shard["examples"] - start))
            for shard in self.shards
            for start in ([0] if is_compressed else range(0, shard["examples"], _BLOCK))
        ]
        blocks = [blocks[i] for i in rng.permutation(len(blocks))]
        width = 1 if is_compressed else _WINDOW
        for first in range(0, len(blocks), width):
            window = blocks[first : first + width]
            parts = [_repeat(_read(*block, self.shape), self.sampling) for block in window]
            order = rng.permutation(sum(len(expression) for _, expression, *_ in parts))
            yield [np.concatenate(column)[order] for column in zip(*parts, strict=True)]


def generator(seed: int, index: int) -> np.random.Generator:
    """Returns the generator that decides the order of an epoch."""
    return np.random.default_rng([recipe.sub_seed(seed, "order"), index])


def columns(examples: text.Examples) -> list[np.ndarray]:
    """Returns letters, expression and, if there is one, weight: (N, …) each."""
    arrays = [examples.letters, examples.expression, examples.weight]
    return [array for array in arrays if array is not None]


def count(
    folder: remote.AnyPath,
    shard: dict[str, Any],
    shape: layout.Layout,
    sampling: targets.Sampling,
) -> tuple[int, int]:
    """Returns how many examples of a shard an epoch shows, and how often all of them together."""
    if sampling.is_uniform:
        return shard["examples"], shard["examples"]
    path = folder / shard["file"]
    times = sampling.counts(shards.parse(shards.read_bytes(path), shape, str(path)))
    return int(np.count_nonzero(times)), int(times.sum())


def _read(path: remote.AnyPath, start: int, size: int, shape: layout.Layout) -> text.Examples:
    """Returns `size` examples of a shard from `start` on; all of a compressed one."""
    if path.suffix == ".gz":
        return shards.parse(shards.read_bytes(path), shape, str(path))
    width = shards.record_bytes(shape)
    with path.open("rb") as file:
        file.seek(start * width)
        return shards.parse(file.read(size * width), shape, f"{path} from record {start}")


def _repeat(examples: text.Examples, sampling: targets.Sampling) -> list[np.ndarray]:
    """Returns letters, expression, … with each example as often as an epoch shows it."""
    if sampling.is_uniform:
        return columns(examples)
    times = sampling.counts(examples)  # (N,)
    return [np.repeat(column, times, axis=0) for column in columns(examples)]


def _whole_batches(
    windows: Iterator[list[np.ndarray]], batch_size: int
) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields whole batches, (K, B, …) each column; the remainder of a window joins the next."""
    remainder: list[np.ndarray] = []
    for window in windows:
        if remainder:
            window = [np.concatenate(pair) for pair in zip(remainder, window, strict=True)]
        count = len(window[0]) // batch_size * batch_size
        yield tuple(x[:count].reshape(-1, batch_size, *x.shape[1:]) for x in window)
        remainder = [x[count:] for x in window]

"""A split as shuffled batches of letters, for `fit` and for your own training loop.

The order is a function of (seed, epoch) and of the mode: from memory an epoch is a uniform shuffle;
streamed, it is a shuffle of blocks of neighbouring records, and of the records within windows of
many blocks.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import psutil
import tensorflow as tf

from camformer_tf import errors, files, recipe, remote, wording
from camformer_tf.batches import channels, streams, targets
from camformer_tf.data import manifest, records, sequence, text

MODES = ("auto", "memory", "stream")

_MEMORY_SHARE = 0.5  # of the free memory that a split may take
_CHUNK = 1 << 14  # sequences that are gathered at once
_UNIFORM = targets.Sampling()


@dataclasses.dataclass(frozen=True)
class Batches:
    """The training batches of a split, in a new order each epoch.

    Attributes:
        mode: "memory" or "stream".
        examples: the number of different examples in an epoch.
        steps: the number of batches in an epoch.
        epoch: epoch number, from 0 → a dataset of `steps` batches, (inputs, expression) or
            (inputs, expression, weight) each: inputs uint8 letters (B, L) or float32 channels
            (B, L, C), expression float32 (B,), weight float32 (B,) if the records have it.
        worker: which part of each batch is this worker's.
        workers: the number of workers that train together.
        source: which part of the records the batches come from.
    """

    mode: str
    examples: int
    steps: int
    epoch: Callable[[int], tf.data.Dataset]
    worker: int = 0
    workers: int = 1
    source: int = 0

    def dataset(self, epochs: int | None = None) -> tf.data.Dataset:
        """Returns the batches of several epochs one after another; of endless ones by default.

        With it, `model.fit(batches.dataset(), epochs=20, steps_per_epoch=batches.steps)` sees
        another order in each epoch.
        """

        def elements() -> Iterator[tuple[tf.Tensor, ...]]:
            for index in itertools.count() if epochs is None else range(epochs):
                yield from self.epoch(index)

        return tf.data.Dataset.from_generator(
            elements, output_signature=self.epoch(0).element_spec
        ).prefetch(tf.data.AUTOTUNE)


def batches(
    records_dir: files.PathLike | remote.Remote,
    split: str = "train",
    *,
    batch_size: int = recipe.TrainConfig.batch_size,
    seed: int = recipe.TrainConfig.seed,
    mode: Literal["auto", "memory", "stream"] = "auto",
    encoding: str | None = None,
    worker: int = 0,
    workers: int = 1,
    sampling: targets.Sampling = _UNIFORM,
) -> Batches:
    """Returns a split of a records directory as shuffled training batches.

    The examples left over at the end of an epoch, fewer than a batch, are left out: other ones in
    each epoch.

    Args:
        records_dir: what `build_records` wrote.
        split: the split to read.
        batch_size: B, of all workers together.
        seed: decides the order, together with the epoch.
        mode: "memory" keeps the split in memory (114 bytes for a sequence of 110 letters), "stream"
            reads it anew in each epoch, "auto" uses memory if the split fits into half of what is
            free.
        encoding: gives the inputs as channels float32 (B, L, C) of that encoding, as a Keras model
            reads them; by default they are letters uint8 (B, L), ASCII codes. A channel of whole
            numbers is as in the training of a recipe: 0 where the expression is a whole number.
        worker: the number of this one of several workers that train together, from 0.
        workers: their number. From memory all draw the same batches, so that the number of workers
            changes nothing. Streaming, worker i reads the shards i, i + n, … and its batches are
            parts of its own; all make the same number of steps.
        sampling: how often an epoch shows each example.

    Raises:
        errors.UserError: a broken set, an unknown split or encoding, fewer shards than workers, or
            less than a batch.
    """
    folder = remote.path(str(records_dir))
    description = manifest.load(folder)
    _check_names(folder, description, split, encoding)
    if mode == "auto":
        free = psutil.virtual_memory().available * _MEMORY_SHARE
        size = description.examples(split) * (description.sequence_length + 4)  # float32 besides
        mode = "memory" if size <= free else "stream"
    if mode == "memory":
        examples = records.read(folder, split)
        times = sampling.counts(examples)  # (N,)
        steps = _steps(folder, int(times.sum()), batch_size)
        epoch = from_memory(examples, batch_size, steps, seed=seed, times=times)
        plain = Batches(mode, int(np.count_nonzero(times)), steps, epoch, worker, workers)
    else:
        plain = _from_shards(
            folder, description, split, batch_size, seed, worker, workers, sampling
        )
    return plain if encoding is None else _with_channels(plain, encoding)


def from_memory(
    examples: text.Examples,
    batch_size: int,
    steps: int,
    *,
    seed: int,
    times: np.ndarray | None = None,
) -> Callable[[int], tf.data.Dataset]:
    """Returns `Batches.epoch` of N examples in memory, uniformly shuffled in each epoch.

    Args:
        examples: the examples.
        batch_size: B.
        steps: the number of batches in an epoch.
        seed: decides the order, together with the epoch.
        times: how often an epoch shows each example, int (N,); once by default.
    """
    rows = np.arange(len(examples.expression))
    rows = rows if times is None else np.repeat(rows, times)
    columns = [tf.constant(column) for column in streams.columns(examples)]
    chunk = max(_CHUNK // batch_size, 1) * batch_size  # whole batches

    def epoch(index: int) -> tf.data.Dataset:
        order = tf.constant(streams.generator(seed, index).permutation(rows))

        def gather(start: tf.Tensor) -> tuple[tf.Tensor, ...]:
            part = order[start : tf.minimum(start + chunk, steps * batch_size)]
            return tuple(
                tf.reshape(tf.gather(column, part), [-1, batch_size, *column.shape[1:]])
                for column in columns  # (N, …) → (K, B, …)
            )

        starts = tf.data.Dataset.range(0, steps * batch_size, chunk)
        chunks = starts.map(gather, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return chunks.prefetch(2).unbatch().prefetch(tf.data.AUTOTUNE)

    return epoch


def _from_shards(
    folder: remote.AnyPath,
    description: manifest.Manifest,
    split: str,
    batch_size: int,
    seed: int,
    worker: int,
    workers: int,
    sampling: targets.Sampling,
) -> Batches:
    """Returns the batches of one worker, read from its shards in each epoch."""
    shards = description.splits[split]["shards"]
    if len(shards) < workers:
        raise errors.UserError(
            f"{folder}: {split} has {wording.count(len(shards), 'shard')}, fewer than the "
            f"{workers} workers. Build the records with --shards {workers} or more."
        )
    counts = [streams.count(folder, shard, description.layout, sampling) for shard in shards]
    share = batch_size // workers
    totals = [sum(times for _, times in counts[i::workers]) for i in range(workers)]
    steps = _steps(folder, min(totals), share)
    stream = streams.Stream(
        folder, shards[worker::workers], description.layout, share, steps, seed, sampling
    )
    examples = sum(count for count, _ in counts)
    return Batches("stream", examples, steps, stream.epoch, source=worker)


def _with_channels(plain: Batches, encoding: str) -> Batches:
    """Returns batches of letters as batches of channels, of a known number of steps."""

    def encode(
        letters: tf.Tensor, expression: tf.Tensor, *weight: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        return channels.encode(letters, expression, encoding), expression, *weight

    def epoch(index: int) -> tf.data.Dataset:
        dataset = plain.epoch(index).map(
            encode,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(plain.steps))
        return dataset.prefetch(tf.data.AUTOTUNE)

    return dataclasses.replace(plain, epoch=epoch)


def _check_names(
    folder: remote.AnyPath, description: manifest.Manifest, split: str, encoding: str | None
) -> None:
    if split not in description.splits:
        raise errors.UserError(
            f"{folder}: has no split {split!r}. Its splits: {', '.join(description.splits)}."
        )
    if encoding is not None and encoding not in sequence.ENCODINGS:
        raise errors.UserError(
            f"encoding: expected one of {', '.join(sequence.ENCODINGS)}, found {encoding!r}."
        )


def _steps(folder: remote.AnyPath, examples: int, batch_size: int) -> int:
    if examples < batch_size:
        raise errors.UserError(
            f"{folder}: {examples} training examples are fewer than one batch of {batch_size}. "
            "Pass --set train.batch_size=N with a smaller N."
        )
    return examples // batch_size

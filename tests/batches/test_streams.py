"""A stream of shards: whole batches from windows, in an order of seed and epoch."""

import numpy as np
import pytest

from camformer_tf.batches import streams, targets
from camformer_tf.data import manifest, records
from camformer_tf.simulation import simulate

SIZE = 300


@pytest.fixture(scope="module")
def record_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streams")
    simulate.simulate(folder / "library.txt", SIZE)
    records.build_records(folder / "library.txt", folder / "set", split="train=1", shards=3)
    return folder / "set"


def stream(folder, **changes) -> streams.Stream:
    content = manifest.load(folder)
    options = {
        "folder": folder,
        "shards": content.splits["train"]["shards"],
        "shape": content.layout,
        "batch_size": 32,
        "steps": SIZE // 32,
        "seed": 1,
        "sampling": targets.Sampling(),
    }
    return streams.Stream(**(options | changes))


@pytest.mark.parametrize("sizes", [[10], [3, 4, 5], [1] * 9, [0, 7, 0, 2]])
def test_whole_batches_join_the_remainder_of_a_window_to_the_next(sizes):
    values = np.arange(sum(sizes))
    windows = [[part] for part in np.split(values, np.cumsum(sizes)[:-1])]
    chunks = [column for (column,) in streams._whole_batches(iter(windows), 4)]
    assert all(chunk.shape[1:] == (4,) for chunk in chunks)
    np.testing.assert_array_equal(np.concatenate(chunks).ravel(), values[: len(values) // 4 * 4])


def test_an_epoch_has_the_steps_and_shapes_of_the_stream(record_set):
    batches = list(stream(record_set).epoch(0).as_numpy_iterator())
    assert len(batches) == SIZE // 32
    for letters, expression in batches:
        assert letters.shape == (32, 110) and letters.dtype == np.uint8
        assert expression.shape == (32,) and expression.dtype == np.float32


def test_the_generator_of_an_epoch_depends_on_seed_and_index():
    draws = {
        (seed, index): streams.generator(seed, index).integers(1 << 62)
        for seed in (1, 2)
        for index in (0, 1)
    }
    assert len(set(draws.values())) == 4
    assert streams.generator(1, 0).integers(1 << 62) == draws[1, 0]


def test_the_counts_of_shards_are_those_of_the_split_and_more_with_tails(record_set):
    content = manifest.load(record_set)
    shards = content.splits["train"]["shards"]
    counts = [streams.count(record_set, s, content.layout, targets.Sampling()) for s in shards]
    assert sum(count for count, _ in counts) == sum(times for _, times in counts) == SIZE
    expression = records.read(record_set, "train").expression
    tails = targets.Tails(-np.inf, float(np.quantile(expression, 0.9)), times=3)
    tail_counts = [
        streams.count(record_set, s, content.layout, targets.Sampling(tails)) for s in shards
    ]
    high = int((expression > tails.high).sum())
    assert sum(times for _, times in tail_counts) == SIZE + 2 * high > SIZE

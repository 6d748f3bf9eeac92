import keras
import numpy as np
import pytest
from scipy import stats

from camformer_tf import errors
from camformer_tf.batches import dataset, streams, targets
from camformer_tf.data import records, sequence, text
from camformer_tf.simulation import simulate


def examples(count: int) -> text.Examples:
    """Examples that carry their own index, in the letters and as the expression."""
    index = np.arange(count)
    letters = np.stack([index % 256, index // 256], axis=1).astype(np.uint8)
    return text.Examples(letters, index.astype(np.float32))


def order(count: int, batch_size: int, *, seed: int = 42, index: int = 0) -> np.ndarray:
    """The rows of an epoch: int (steps, batch_size)."""
    batches = dataset.from_memory(examples(count), batch_size, count // batch_size, seed=seed)(
        index
    )
    rows = []
    for letters, expression in batches.as_numpy_iterator():
        assert (letters[:, 0] + 256.0 * letters[:, 1] == expression).all()
        rows.append(expression.astype(int))
    return np.array(rows)


def test_an_epoch_is_a_permutation():
    rows = order(1000, 100)
    assert rows.shape == (10, 100) and sorted(rows.ravel()) == list(range(1000))
    assert (rows.ravel() != np.arange(1000)).any()


def test_an_epoch_leaves_out_the_examples_that_do_not_fill_a_batch():
    rows = order(1000, 300)
    assert rows.shape == (3, 300) and len(set(rows.ravel())) == 900


def test_the_rows_left_out_change_from_epoch_to_epoch():
    remainders = [set(range(1000)) - set(order(1000, 300, index=i).ravel()) for i in range(2)]
    assert remainders[0] != remainders[1]


def test_the_order_depends_on_seed_and_index_alone():
    np.testing.assert_array_equal(order(500, 50, seed=7, index=3), order(500, 50, seed=7, index=3))
    np.testing.assert_array_equal(order(500, 50).ravel(), order(500, 10).ravel())


@pytest.mark.parametrize("changes", [{"index": 1}, {"seed": 23}])
def test_another_epoch_or_seed_has_another_order(changes):
    assert (order(500, 50) != order(500, 50, **changes)).mean() > 0.9


def test_the_order_is_a_uniform_shuffle():
    rows = order(10_000, 10_000).ravel()
    # A row's place says nothing about its index: rho has a standard deviation of 0.01 here.
    assert abs(stats.spearmanr(rows, np.arange(10_000)).statistic) < 0.05
    assert stats.kstest(np.flatnonzero(rows < 1_000) / 10_000, "uniform").pvalue > 1e-4


def test_batches_are_letters_and_float32():
    letters, expression = dataset.from_memory(examples(10), 4, 2, seed=1)(0).element_spec
    assert (letters.shape[1:], letters.dtype) == ((2,), "uint8")
    assert expression.dtype == "float32"


# --- from records ---


@pytest.fixture(scope="module", params=["none", "gzip"])
def record_set(tmp_path_factory, request):
    """5,000 sequences in 4 shards, whose expression is their own index: folder and letters."""
    folder = tmp_path_factory.mktemp("stored")
    simulate.simulate(folder / "plain.txt", 5_000)
    rows = [line.split("\t")[0] for line in (folder / "plain.txt").read_text().splitlines()]
    (folder / "text.txt").write_text("".join(f"{s}\t{i}\n" for i, s in enumerate(rows)))
    options = {"split": "train=1", "shards": 4, "compression": request.param}
    records.build_records(folder / "text.txt", folder / "set", **options)
    return folder / "set", rows


def read_epoch(
    folder, batch_size=64, index=0, *, seed=1, **options
) -> tuple[np.ndarray, list[str]]:
    """The rows of an epoch, int (steps * batch_size,), and the letters that came with them."""
    batches = dataset.batches(folder, batch_size=batch_size, seed=seed, **options)
    rows, letters = [], []
    for x, y in batches.epoch(index).as_numpy_iterator():
        assert x.shape == (batch_size, 110) and x.dtype == np.uint8 and y.dtype == np.float32
        rows.append(y.astype(int))
        letters += sequence.text(x)
    assert len(rows) == batches.steps
    return np.concatenate(rows), letters


@pytest.mark.parametrize("mode", ["memory", "stream"])
def test_an_epoch_has_every_sequence_once_except_those_of_the_last_batch(record_set, mode):
    folder, sequences = record_set
    rows, letters = read_epoch(folder, mode=mode)
    assert len(rows) == 78 * 64 == len(set(rows.tolist()))
    assert letters == [sequences[row] for row in rows]


@pytest.mark.parametrize("mode", ["memory", "stream"])
def test_the_order_of_a_mode_depends_on_seed_and_epoch_alone(record_set, mode):
    folder, _ = record_set
    first, _ = read_epoch(folder, index=2, mode=mode)
    np.testing.assert_array_equal(read_epoch(folder, index=2, mode=mode)[0], first)
    for changes in ({"index": 3}, {"index": 2, "seed": 5}):
        assert (read_epoch(folder, mode=mode, **changes)[0] != first).mean() > 0.9


@pytest.mark.parametrize("mode", ["memory", "stream"])
@pytest.mark.parametrize(
    ("batch_size", "tails"), [(7, None), (64, None), (7, targets.Tails(49.5, 1e9, times=3))]
)
def test_weights_travel_with_their_examples(tmp_path, mode, batch_size, tails):
    text_file = tmp_path / "table.tsv"
    letters = ["".join(row) for row in np.random.default_rng(0).choice(list("ACGT"), (500, 110))]
    rows = [f"{row}\t{i}\t{i / 4}\n" for i, row in enumerate(letters)]
    text_file.write_text("s\te\tw\n" + "".join(rows))
    columns = {"sequence": "s", "expression": "e", "weight": "w"}
    records.build_records(text_file, tmp_path / "set", split="train=1", shards=3, **columns)
    batches = dataset.batches(
        tmp_path / "set", batch_size=batch_size, seed=1, mode=mode, sampling=targets.Sampling(tails)
    )
    indices = []
    for x, y, weight in batches.epoch(0).as_numpy_iterator():
        assert sequence.text(x) == [letters[int(i)] for i in y]
        np.testing.assert_array_equal(weight, y / 4)
        indices += y.tolist()
    assert len(indices) == (600 if tails else 500) // batch_size * batch_size
    assert tails or len(set(indices)) == len(indices)


def test_a_stream_mixes_distant_parts_of_the_text(record_set, monkeypatch):
    folder, _ = record_set
    monkeypatch.setattr(streams, "_BLOCK", 32)
    monkeypatch.setattr(streams, "_WINDOW", 16)  # 512 of 5,000 sequences
    rows, _ = read_epoch(folder, mode="stream")
    assert len(set(rows.tolist())) == len(rows)
    if next(folder.glob("*.tfrecord"), None):  # a compressed shard is read as a whole
        spread = [np.ptp(rows[i : i + 512]) for i in range(0, 4_500, 512)]
        assert min(spread) > 3_500


def test_auto_reads_a_split_into_memory_if_it_fits_and_streams_it_otherwise(
    record_set, monkeypatch
):
    folder, _ = record_set
    assert dataset.batches(folder, batch_size=64, seed=1).mode == "memory"
    monkeypatch.setattr(dataset, "_MEMORY_SHARE", 1e-9)
    assert dataset.batches(folder, batch_size=64, seed=1).mode == "stream"


@pytest.mark.parametrize("mode", ["memory", "stream"])
def test_examples_of_the_tails_are_shown_several_times_an_epoch(record_set, mode):
    folder, sequences = record_set
    tails = targets.Tails(low=99.5, high=4899.5, times=4)  # 200 of 5,000
    rows, letters = read_epoch(folder, batch_size=8, mode=mode, sampling=targets.Sampling(tails))
    assert len(rows) == 5_600  # 4,800 + 4 * 200, 700 whole batches
    assert letters == [sequences[row] for row in rows]
    times = np.bincount(rows)
    assert (times[:100] == 4).all() and (times[100:4900] == 1).all() and (times[4900:] == 4).all()
    assert (
        dataset.batches(
            folder, batch_size=8, seed=1, mode=mode, sampling=targets.Sampling(tails)
        ).examples
        == 5_000
    )


def test_streaming_workers_make_equal_steps_where_their_tails_differ(record_set):
    folder, _ = record_set
    sampling = targets.Sampling(
        targets.Tails(low=0.5, high=1e9, times=1_000)
    )  # one, in the first shard
    parts = [
        dataset.batches(
            folder, batch_size=256, seed=1, mode="stream", worker=i, workers=4, sampling=sampling
        )
        for i in range(4)
    ]
    assert [part.source for part in parts] == [0, 1, 2, 3]
    assert {part.steps for part in parts} == {1250 // 64}
    expression = np.concatenate([y for _, y in parts[0].epoch(0).as_numpy_iterator()])
    assert len(expression) == 1250 // 64 * 64 and np.count_nonzero(expression == 0) > 400


@pytest.mark.parametrize("mode", ["memory", "stream"])
def test_a_part_of_the_sequences_is_the_same_in_every_epoch_and_within_a_larger_part(
    record_set, mode
):
    folder, sequences = record_set

    def part(fraction: float, index: int, seed: int = 1) -> set[int]:
        sampling = targets.Sampling(fraction=fraction, seed=seed)
        rows, letters = read_epoch(folder, index=index, batch_size=1, mode=mode, sampling=sampling)
        assert letters == [sequences[row] for row in rows] and len(set(rows)) == len(rows)
        return set(rows.tolist())

    tenth = part(0.1, 0)
    assert part(0.1, 3) == tenth < part(0.5, 0)
    assert part(0.1, 0, seed=2) != tenth
    assert (
        len(tenth)
        == dataset.batches(
            folder, batch_size=1, seed=1, mode=mode, sampling=targets.Sampling(fraction=0.1, seed=1)
        ).examples
    )


def test_a_part_is_the_same_from_memory_and_streamed_by_workers(record_set):
    folder, _ = record_set
    sampling = targets.Sampling(targets.Tails(low=99.5, high=4899.5, times=4), fraction=0.5, seed=1)
    rows, _ = read_epoch(folder, batch_size=1, mode="memory", sampling=sampling)
    parts = [
        dataset.batches(
            folder, batch_size=4, seed=1, mode="stream", worker=i, workers=4, sampling=sampling
        )
        for i in range(4)
    ]
    expressions = [y for part in parts for _, y in part.epoch(0).as_numpy_iterator()]
    assert {part.examples for part in parts} == {len(set(rows.tolist()))}
    assert set(np.concatenate(expressions).astype(int)) <= set(rows.tolist())
    assert set(np.bincount(rows)[:100]) == {0, 4}


def test_streaming_workers_share_the_shards_and_make_equal_steps(record_set):
    folder, _ = record_set
    parts = [
        dataset.batches(folder, batch_size=96, seed=1, mode="stream", worker=i, workers=3)
        for i in range(3)
    ]
    rows = []
    for part in parts:
        assert (part.worker, part.workers, part.steps) == (0, 1, 1250 // 32)  # one has two shards
        rows_of_batches = [y.astype(int) for _, y in part.epoch(0).as_numpy_iterator()]
        assert {len(batch) for batch in rows_of_batches} == {32}
        assert len(rows_of_batches) == part.steps
        rows += np.concatenate(rows_of_batches).tolist()
    assert len(set(rows)) == len(rows) == 3 * 39 * 32


def test_workers_that_read_from_memory_draw_the_batches_of_a_single_one(record_set):
    folder, _ = record_set
    alone, *parts = (
        dataset.batches(folder, batch_size=96, seed=1, mode="memory", worker=i, workers=n)
        for i, n in ((0, 1), (0, 3), (2, 3))
    )
    for part, worker in zip(parts, (0, 2), strict=True):
        assert (part.worker, part.workers, part.steps) == (worker, 3, alone.steps)
        pairs = zip(
            alone.epoch(2).as_numpy_iterator(), part.epoch(2).as_numpy_iterator(), strict=True
        )
        assert all((first[1] == second[1]).all() for first, second in pairs)


def test_fewer_shards_than_streaming_workers_are_refused(record_set):
    with pytest.raises(errors.UserError, match="train has 4 shards, fewer than the 5 workers"):
        dataset.batches(record_set[0], batch_size=64, seed=1, mode="stream", worker=0, workers=5)


def test_less_than_one_batch_is_refused(record_set):
    with pytest.raises(errors.UserError, match="5000 training examples are fewer than one batch"):
        dataset.batches(record_set[0], batch_size=5001, seed=1)


def test_an_unknown_split_or_encoding_is_refused(record_set):
    with pytest.raises(errors.UserError, match="has no split 'val'. Its splits: train"):
        dataset.batches(record_set[0], "val")
    with pytest.raises(errors.UserError, match="encoding: expected one of onehot, .*found 'one'"):
        dataset.batches(record_set[0], encoding="one")


# --- for a custom training loop ---


@pytest.mark.parametrize("mode", ["memory", "stream"])
@pytest.mark.parametrize("encoding", ["onehot", "onehot_integer_purine"])
def test_an_encoding_gives_the_channels_that_a_recipe_trains_on(library, mode, encoding):
    options = {"batch_size": 64, "seed": 3, "mode": mode}
    plain = dataset.batches(str(library), **options)
    with_channels = dataset.batches(str(library), encoding=encoding, **options)
    assert with_channels.steps == plain.steps == int(with_channels.epoch(0).cardinality())
    table = sequence.table(encoding)
    pairs = zip(
        plain.epoch(1).as_numpy_iterator(), with_channels.epoch(1).as_numpy_iterator(), strict=True
    )
    for (letters, expression), (channels, targets_) in pairs:
        np.testing.assert_array_equal(expression, targets_)
        expected = table[letters]  # (B, L, C)
        if encoding != "onehot":
            expected[:, :, 4] = (expression != np.floor(expression))[:, None]
        np.testing.assert_array_equal(channels, expected)


def test_a_plain_keras_model_fits_an_epoch_and_several_epochs(library):
    batches = dataset.batches(library, batch_size=128, encoding="onehot")
    network = keras.Sequential(
        [keras.Input((110, 4)), keras.layers.Flatten(), keras.layers.Dense(1)]
    )
    network.compile("adam", "mse")
    alone = network.fit(batches.epoch(0), verbose=0)
    history = network.fit(
        batches.dataset(), epochs=3, steps_per_epoch=batches.steps, verbose=0
    ).history["loss"]
    assert history[-1] < history[0] < alone.history["loss"][0]


def test_the_batches_of_several_epochs_follow_each_other_in_their_orders(record_set):
    batches = dataset.batches(record_set[0], batch_size=500, seed=1)
    rows = [y.astype(int) for _, y in batches.dataset(2).as_numpy_iterator()]
    expected = [y.astype(int) for i in (0, 1) for _, y in batches.epoch(i).as_numpy_iterator()]
    np.testing.assert_array_equal(rows, expected)
    assert len(rows) == 2 * batches.steps and (rows[0] != rows[batches.steps]).any()

import numpy as np
import pytest
from scipy import stats

from camformer_tf import errors
from camformer_tf.batches import dataset, targets
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


def test_an_epoch_leaves_out_what_fills_no_batch():
    rows = order(1000, 300)
    assert rows.shape == (3, 300) and len(set(rows.ravel())) == 900


def test_the_rows_left_out_change_from_epoch_to_epoch():
    left = [set(range(1000)) - set(order(1000, 300, index=i).ravel()) for i in range(2)]
    assert left[0] != left[1]


def test_the_order_depends_on_nothing_but_seed_and_index():
    np.testing.assert_array_equal(order(500, 50, seed=7, index=3), order(500, 50, seed=7, index=3))
    np.testing.assert_array_equal(order(500, 50).ravel(), order(500, 10).ravel())


@pytest.mark.parametrize("changes", [{"index": 1}, {"seed": 23}])
def test_another_epoch_or_seed_has_another_order(changes):
    assert (order(500, 50) != order(500, 50, **changes)).mean() > 0.9


def test_the_order_is_a_uniform_shuffle():
    rows = order(10_000, 10_000).ravel()
    # A row's place tells nothing of its index: rho has a standard deviation of 0.01 here.
    assert abs(stats.spearmanr(rows, np.arange(10_000)).statistic) < 0.05
    assert stats.kstest(np.flatnonzero(rows < 1_000) / 10_000, "uniform").pvalue > 1e-4


def test_batches_are_letters_and_float32():
    letters, expression = dataset.from_memory(examples(10), 4, 2, seed=1)(0).element_spec
    assert (letters.shape[1:], letters.dtype) == ((2,), "uint8")
    assert expression.dtype == "float32"


# --- from records ---


@pytest.fixture(scope="module", params=["none", "gzip"])
def stored(tmp_path_factory, request):
    """5,000 sequences in 4 shards, whose expression is their own index: folder and letters."""
    folder = tmp_path_factory.mktemp("stored")
    simulate.simulate(folder / "plain.txt", 5_000)
    rows = [line.split("\t")[0] for line in (folder / "plain.txt").read_text().splitlines()]
    (folder / "text.txt").write_text("".join(f"{s}\t{i}\n" for i, s in enumerate(rows)))
    options = {"split": "train=1", "shards": 4, "compression": request.param}
    records.build_records(folder / "text.txt", folder / "set", **options)
    return folder / "set", rows


def loaded(folder, batch_size=64, index=0, *, seed=1, **options) -> tuple[np.ndarray, list[str]]:
    """The rows of an epoch, int (steps * batch_size,), and the letters that came with them."""
    batches = dataset.load(folder, "train", batch_size, seed=seed, **options)
    rows, letters = [], []
    for x, y in batches.epoch(index).as_numpy_iterator():
        assert x.shape == (batch_size, 110) and x.dtype == np.uint8 and y.dtype == np.float32
        rows.append(y.astype(int))
        letters += sequence.text(x)
    assert len(rows) == batches.steps
    return np.concatenate(rows), letters


@pytest.mark.parametrize("mode", ["memory", "stream"])
def test_an_epoch_has_every_sequence_once_but_for_the_last_batch(stored, mode):
    folder, sequences = stored
    rows, letters = loaded(folder, mode=mode)
    assert len(rows) == 78 * 64 == len(set(rows.tolist()))
    assert letters == [sequences[row] for row in rows]


@pytest.mark.parametrize("mode", ["memory", "stream"])
def test_the_order_of_a_mode_depends_on_nothing_but_seed_and_epoch(stored, mode):
    folder, _ = stored
    first, _ = loaded(folder, index=2, mode=mode)
    np.testing.assert_array_equal(loaded(folder, index=2, mode=mode)[0], first)
    for changed in ({"index": 3}, {"index": 2, "seed": 5}):
        assert (loaded(folder, mode=mode, **changed)[0] != first).mean() > 0.9


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
    batches = dataset.load(
        tmp_path / "set", "train", batch_size, seed=1, mode=mode, seen=targets.Seen(tails)
    )
    seen = []
    for x, y, weight in batches.epoch(0).as_numpy_iterator():
        assert sequence.text(x) == [letters[int(i)] for i in y]
        np.testing.assert_array_equal(weight, y / 4)
        seen += y.tolist()
    assert len(seen) == (600 if tails else 500) // batch_size * batch_size
    assert tails or len(set(seen)) == len(seen)


def test_a_stream_mixes_far_parts_of_the_text(stored, monkeypatch):
    folder, _ = stored
    monkeypatch.setattr(dataset, "_BLOCK", 32)
    monkeypatch.setattr(dataset, "_WINDOW", 16)  # 512 of 5,000 sequences
    rows, _ = loaded(folder, mode="stream")
    assert len(set(rows.tolist())) == len(rows)
    if next(folder.glob("*.tfrecord"), None):  # a packed shard is read from end to end
        spread = [np.ptp(rows[i : i + 512]) for i in range(0, 4_500, 512)]
        assert min(spread) > 3_500


def test_auto_holds_in_memory_what_fits_and_streams_what_does_not(stored, monkeypatch):
    folder, _ = stored
    assert dataset.load(folder, "train", 64, seed=1).mode == "memory"
    monkeypatch.setattr(dataset, "_SHARE", 1e-9)
    assert dataset.load(folder, "train", 64, seed=1).mode == "stream"


@pytest.mark.parametrize("mode", ["memory", "stream"])
def test_examples_of_the_tails_are_seen_several_times_an_epoch(stored, mode):
    folder, sequences = stored
    tails = targets.Tails(low=99.5, high=4899.5, times=4)  # 200 of 5,000
    rows, letters = loaded(folder, batch_size=8, mode=mode, seen=targets.Seen(tails))
    assert len(rows) == 5_600  # 4,800 + 4 * 200, 700 whole batches
    assert letters == [sequences[row] for row in rows]
    times = np.bincount(rows)
    assert (times[:100] == 4).all() and (times[100:4900] == 1).all() and (times[4900:] == 4).all()
    assert (
        dataset.load(folder, "train", 8, seed=1, mode=mode, seen=targets.Seen(tails)).examples
        == 5_000
    )


def test_streaming_workers_make_equal_steps_where_their_tails_differ(stored):
    folder, _ = stored
    seen = targets.Seen(targets.Tails(low=0.5, high=1e9, times=1_000))  # one, in the first shard
    parts = [
        dataset.load(folder, "train", 256, seed=1, mode="stream", worker=i, workers=4, seen=seen)
        for i in range(4)
    ]
    assert [part.source for part in parts] == [0, 1, 2, 3]
    assert {part.steps for part in parts} == {1250 // 64}
    drawn = np.concatenate([y for _, y in parts[0].epoch(0).as_numpy_iterator()])
    assert len(drawn) == 1250 // 64 * 64 and np.count_nonzero(drawn == 0) > 400


@pytest.mark.parametrize("mode", ["memory", "stream"])
def test_a_part_of_the_sequences_is_the_same_in_every_epoch_and_within_a_larger_part(stored, mode):
    folder, sequences = stored

    def part(fraction: float, index: int, seed: int = 1) -> set[int]:
        seen = targets.Seen(fraction=fraction, seed=seed)
        rows, letters = loaded(folder, index=index, batch_size=1, mode=mode, seen=seen)
        assert letters == [sequences[row] for row in rows] and len(set(rows)) == len(rows)
        return set(rows.tolist())

    tenth = part(0.1, 0)
    assert part(0.1, 3) == tenth < part(0.5, 0)
    assert part(0.1, 0, seed=2) != tenth
    assert (
        len(tenth)
        == dataset.load(
            folder, "train", 1, seed=1, mode=mode, seen=targets.Seen(fraction=0.1, seed=1)
        ).examples
    )


def test_a_part_is_the_same_from_memory_and_streamed_by_workers(stored):
    folder, _ = stored
    seen = targets.Seen(targets.Tails(low=99.5, high=4899.5, times=4), fraction=0.5, seed=1)
    rows, _ = loaded(folder, batch_size=1, mode="memory", seen=seen)
    parts = [
        dataset.load(folder, "train", 4, seed=1, mode="stream", worker=i, workers=4, seen=seen)
        for i in range(4)
    ]
    drawn = [y for part in parts for _, y in part.epoch(0).as_numpy_iterator()]
    assert {part.examples for part in parts} == {len(set(rows.tolist()))}
    assert set(np.concatenate(drawn).astype(int)) <= set(rows.tolist())
    assert set(np.bincount(rows)[:100]) == {0, 4}


def test_streaming_workers_share_the_shards_and_make_equal_steps(stored):
    folder, _ = stored
    parts = [
        dataset.load(folder, "train", 96, seed=1, mode="stream", worker=i, workers=3)
        for i in range(3)
    ]
    rows = []
    for part in parts:
        assert (part.worker, part.workers, part.steps) == (0, 1, 1250 // 32)  # one has two shards
        drawn = [y.astype(int) for _, y in part.epoch(0).as_numpy_iterator()]
        assert {len(batch) for batch in drawn} == {32} and len(drawn) == part.steps
        rows += np.concatenate(drawn).tolist()
    assert len(set(rows)) == len(rows) == 3 * 39 * 32


def test_workers_that_hold_the_split_draw_the_batches_of_one(stored):
    folder, _ = stored
    one, *several = (
        dataset.load(folder, "train", 96, seed=1, mode="memory", worker=i, workers=n)
        for i, n in ((0, 1), (0, 3), (2, 3))
    )
    for part, worker in zip(several, (0, 2), strict=True):
        assert (part.worker, part.workers, part.steps) == (worker, 3, one.steps)
        drawn = zip(
            one.epoch(2).as_numpy_iterator(), part.epoch(2).as_numpy_iterator(), strict=True
        )
        assert all((ours[1] == theirs[1]).all() for ours, theirs in drawn)


def test_fewer_shards_than_streaming_workers_are_refused(stored):
    with pytest.raises(errors.UserError, match="train has 4 shards, fewer than the 5 workers"):
        dataset.load(stored[0], "train", 64, seed=1, mode="stream", worker=0, workers=5)


def test_less_than_one_batch_is_refused(stored):
    with pytest.raises(errors.UserError, match="5000 training examples are fewer than one batch"):
        dataset.load(stored[0], "train", 5001, seed=1)

import numpy as np
import pytest
from scipy import stats

from camformer_tf import errors
from camformer_tf.data import dataset, text


def examples(count: int) -> text.Examples:
    """Examples that carry their own index, in the letters and as the expression."""
    index = np.arange(count)
    letters = np.stack([index % 256, index // 256], axis=1).astype(np.uint8)
    return text.Examples(letters, index.astype(np.float32))


def order(count: int, batch_size: int, *, seed: int = 42, index: int = 0) -> np.ndarray:
    """The rows of an epoch: int (steps, batch_size)."""
    batches = dataset.epoch(examples(count), batch_size, seed=seed, index=index)
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
    letters, expression = dataset.epoch(examples(10), 4, seed=1, index=0).element_spec
    assert (letters.shape, letters.dtype) == ((4, 2), "uint8")
    assert (expression.shape, expression.dtype) == ((4,), "float32")


@pytest.mark.parametrize("count, steps", [(256, 1), (511, 1), (512, 2), (5_945, 23)])
def test_steps_are_whole_batches(count, steps):
    assert dataset.steps_per_epoch(examples(count), 256, "x") == steps


def test_the_full_training_set_has_23222_steps():
    # 5,945,028 sequences in batches of 256 with drop_last=True: the 2022 submission's loader,
    # FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69
    whole = text.Examples(np.empty((0, 110), np.uint8), np.empty(5_945_028, np.float32))
    assert dataset.steps_per_epoch(whole, 256, "x") == 23_222


def test_less_than_one_batch_is_refused():
    with pytest.raises(errors.UserError, match="^here: 255 training examples are fewer than one"):
        dataset.steps_per_epoch(examples(255), 256, "here")

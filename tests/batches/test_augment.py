import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from camformer_tf import recipe
from camformer_tf.batches import augment, dataset, targets
from camformer_tf.data import sequence, text

SMOKE = recipe.load("smoke")
UNKNOWN = targets.Targets()
SEED = tf.constant([3, 5], tf.int64)


def settings(encoding: str = "onehot", seed: int = 42, **tricks) -> recipe.Recipe:
    return dataclasses.replace(
        SMOKE,
        data=recipe.DataConfig(encoding=encoding),
        train=recipe.TrainConfig(seed=seed),
        tricks=recipe.TricksConfig(**tricks),
    )


def examples(count: int = 640) -> text.Examples:
    rng = np.random.default_rng(1)
    letters = rng.choice(np.frombuffer(b"ACGTN", np.uint8), (count, 20))
    values = rng.gamma(9, 1.2, count)
    y = np.where(rng.random(count) < 0.6, np.round(values), values).astype(np.float32)
    return text.Examples(letters, y, np.arange(count, dtype=np.float32))


def batches(held: text.Examples, source: int = 0) -> dataset.Batches:
    steps = len(held.expression) // 64
    epoch = dataset.from_memory(held, 64, steps, seed=1)
    return dataset.Batches("memory", len(held.expression), steps, epoch, source=source)


def seen(made: dataset.Batches, epoch: int = 0, skipped: int = 0) -> list[np.ndarray]:
    """The letters, expressions and weights of what is left of an epoch."""
    drawn = made.epoch(epoch).skip(skipped).as_numpy_iterator()
    return [np.concatenate(column) for column in zip(*drawn, strict=True)]


def changed(recipe_, source: int = 0, known=UNKNOWN, **which) -> list[np.ndarray]:
    return seen(augment.wrap(batches(examples(), source), recipe_, known), **which)


ALL = settings("onehot_integer", shift=5, reverse_complement=0.5, target_noise=1.0)


def test_without_tricks_the_batches_are_the_same_ones():
    plain = batches(examples())
    flanks = recipe.FlanksConfig(cut_left=3)
    tails = recipe.TailsConfig(below=0.2, times=3)
    for made in (settings(), settings("onehot_purine", flanks=flanks, tails=tails)):
        assert augment.wrap(plain, made, UNKNOWN) is plain


# --- what each trick does ---


def test_a_shifted_sequence_is_a_window_of_itself_between_n():
    letters = examples().letters
    made = augment.shifted(tf.constant(letters), 5, SEED).numpy()
    extended = ["N" * 5 + row + "N" * 5 for row in sequence.text(letters)]
    starts = [long.find(row) for long, row in zip(extended, sequence.text(made), strict=True)]
    assert made.shape == letters.shape and made.dtype == np.uint8
    counts = np.bincount(starts, minlength=11)  # a start that is not found is -1, and refused
    assert len(counts) == 11 and stats.chisquare(counts).pvalue > 1e-3


def test_the_given_share_of_sequences_is_turned_into_its_reverse_complement():
    letters = examples().letters
    rows = sequence.text(letters)
    turned = [row[::-1].translate(str.maketrans("ACGT", "TGCA")) for row in rows]
    made = sequence.text(augment.turned(tf.constant(letters), 0.3, SEED).numpy())
    count = sum(m == t for m, t in zip(made, turned, strict=True))
    assert stats.binomtest(count, len(rows), 0.3).pvalue > 1e-3
    assert all(m in pair for m, *pair in zip(made, rows, turned, strict=True))
    assert sequence.text(augment.turned(tf.constant(letters), 1.0, SEED).numpy()) == turned


def test_noise_is_normal_with_the_given_standard_deviation():
    y = np.random.default_rng(0).normal(size=5_000).astype(np.float32)
    noise = augment.noisy(tf.constant(y), 0.25, SEED).numpy() - y
    assert stats.kstest(noise / 0.25, "norm").pvalue > 1e-3


def test_expressions_become_the_quantiles_of_the_training_set():
    held = examples()
    known = targets.Targets(targets.quantiles(held.expression))
    _, y, weight = changed(settings(quantile_targets=True), known=known)
    np.testing.assert_array_equal(y, known.quantiles.of(held.expression)[weight.astype(int)])


@pytest.mark.parametrize("encoding", ["onehot_integer", "onehot_integer_purine"])
@pytest.mark.parametrize(
    "tricks", [{}, {"target_noise": 1.0, "shift": 5, "quantile_targets": True}]
)
def test_the_channel_of_whole_numbers_says_what_was_measured_whatever_the_tricks(encoding, tricks):
    held = examples()
    known = targets.Targets(targets.quantiles(held.expression) if tricks else None)
    letters, _, weight = changed(settings(encoding, **tricks), known=known)
    whole = np.array([float(y).is_integer() for y in held.expression])[weight.astype(int)]
    channel = sequence.training_table(encoding)[letters][:, :, 4]
    np.testing.assert_array_equal(channel, np.tile(np.where(whole, 0, 1)[:, None], 20))
    assert 0.4 < whole.mean() < 0.8


def test_letters_and_targets_that_no_trick_is_for_stay_with_their_weights():
    held = examples()
    letters, y, weight = changed(settings(target_noise=1.0))
    np.testing.assert_array_equal(letters, held.letters[weight.astype(int)])
    letters, y, weight = changed(settings("onehot_integer", shift=5, reverse_complement=0.5))
    np.testing.assert_array_equal(y, held.expression[weight.astype(int)])
    assert (letters & 127 != held.letters[weight.astype(int)]).any()


def test_batches_keep_their_shapes_and_types():
    plain = batches(examples())
    assert augment.wrap(plain, ALL, UNKNOWN).epoch(0).element_spec == (plain.epoch(0).element_spec)


# --- the randomness ---


def test_the_rest_of_an_epoch_is_what_it_would_have_been():
    whole = changed(ALL, epoch=2)
    for part, column in zip(changed(ALL, epoch=2, skipped=7), whole, strict=True):
        np.testing.assert_array_equal(part, column[7 * 64 :])


def test_tricks_differ_by_batch_epoch_seed_and_source():
    def noise(seed=42, source=0, epoch=0):
        _, y, weight = changed(settings(seed=seed, target_noise=1.0), source, epoch=epoch)
        return (y - examples().expression[weight.astype(int)]).reshape(-1, 64)

    first = noise()
    np.testing.assert_array_equal(first, noise())
    others = [noise(epoch=1), noise(seed=1), noise(source=1)]
    drawn = np.concatenate([first, *others])
    r = np.corrcoef(drawn)[np.triu_indices(len(drawn), 1)]
    assert np.abs(r).max() < 0.6  # of 64 independent pairs each: sd 0.125


@pytest.mark.parametrize("mode", ["memory", "stream"])
def test_tricks_work_in_either_mode(library, mode):
    plain = dataset.load(library, "train", 64, seed=1, mode=mode)
    made = augment.wrap(plain, settings(shift=4, target_noise=0.5), UNKNOWN)
    (letters, y), (before, measured) = seen(made), seen(plain)
    windows = ["NNNN" + row + "NNNN" for row in sequence.text(before)]
    assert all(row in window for row, window in zip(sequence.text(letters), windows, strict=True))
    assert np.std(y - measured) == pytest.approx(0.5, rel=0.05)

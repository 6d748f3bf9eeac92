import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from camformer_tf import recipe
from camformer_tf.batches import augment, dataset, targets
from camformer_tf.data import sequence, text

SMOKE = recipe.load("smoke")
NO_TARGETS = targets.Targets()
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


def plain_batches(source: int = 0) -> dataset.Batches:
    count = len(examples().expression)
    epoch = dataset.from_memory(examples(), 64, count // 64, seed=1)
    return dataset.Batches("memory", count, count // 64, epoch, source=source)


def columns(batches: dataset.Batches, epoch: int = 0, start: int = 0) -> list[np.ndarray]:
    """The letters, expressions and weights of an epoch from batch `start` on."""
    remainder = batches.epoch(epoch).skip(start).as_numpy_iterator()
    return [np.concatenate(column) for column in zip(*remainder, strict=True)]


def with_tricks(recipe_, source: int = 0, tricks=NO_TARGETS, **part) -> list[np.ndarray]:
    return columns(augment.wrap(plain_batches(source), recipe_, tricks), **part)


ALL = settings("onehot_integer", shift=5, reverse_complement=0.5, target_noise=1.0)


def test_without_tricks_the_batches_are_the_same_ones():
    plain = plain_batches()
    flanks = recipe.FlanksConfig(cut_left=3)
    tails = recipe.TailsConfig(below=0.2, times=3)
    for settings_ in (settings(), settings("onehot_purine", flanks=flanks, tails=tails)):
        assert augment.wrap(plain, settings_, NO_TARGETS) is plain


# --- what each trick does ---


def test_a_shifted_sequence_is_a_window_of_itself_between_n():
    letters = examples().letters
    windows = augment.shift(tf.constant(letters), 5, SEED).numpy()
    longer_rows = ["N" * 5 + row + "N" * 5 for row in sequence.text(letters)]
    starts = [long.find(row) for long, row in zip(longer_rows, sequence.text(windows), strict=True)]
    assert windows.shape == letters.shape and windows.dtype == np.uint8
    counts = np.bincount(starts, minlength=11)  # a start that is not found is -1, and refused
    assert len(counts) == 11 and stats.chisquare(counts).pvalue > 1e-3


def test_a_share_of_the_sequences_becomes_its_reverse_complement():
    letters = examples().letters
    rows = sequence.text(letters)
    complements = [row[::-1].translate(str.maketrans("ACGT", "TGCA")) for row in rows]
    output = sequence.text(augment.reverse_complement(tf.constant(letters), 0.3, SEED).numpy())
    count = sum(m == t for m, t in zip(output, complements, strict=True))
    assert stats.binomtest(count, len(rows), 0.3).pvalue > 1e-3
    assert all(m in pair for m, *pair in zip(output, rows, complements, strict=True))
    assert (
        sequence.text(augment.reverse_complement(tf.constant(letters), 1.0, SEED).numpy())
        == complements
    )


def test_noise_is_normal_with_the_given_standard_deviation():
    y = np.random.default_rng(0).normal(size=5_000).astype(np.float32)
    noise = augment.add_noise(tf.constant(y), 0.25, SEED).numpy() - y
    assert stats.kstest(noise / 0.25, "norm").pvalue > 1e-3


def test_expressions_become_the_quantiles_of_the_training_set():
    data = examples()
    tricks = targets.Targets(targets.quantiles(data.expression))
    _, y, weight = with_tricks(settings(quantile_targets=True), tricks=tricks)
    np.testing.assert_array_equal(y, tricks.quantiles.apply(data.expression)[weight.astype(int)])


@pytest.mark.parametrize("encoding", ["onehot_integer", "onehot_integer_purine"])
@pytest.mark.parametrize(
    "tricks", [{}, {"target_noise": 1.0, "shift": 5, "quantile_targets": True}]
)
def test_the_channel_of_whole_numbers_says_what_was_measured_whatever_the_tricks(encoding, tricks):
    data = examples()
    targets_ = targets.Targets(targets.quantiles(data.expression) if tricks else None)
    letters, _, weight = with_tricks(settings(encoding, **tricks), tricks=targets_)
    is_whole = np.array([float(y).is_integer() for y in data.expression])[weight.astype(int)]
    channel = sequence.training_table(encoding)[letters][:, :, 4]
    np.testing.assert_array_equal(channel, np.tile(np.where(is_whole, 0, 1)[:, None], 20))
    assert 0.4 < is_whole.mean() < 0.8


def test_letters_and_targets_without_a_trick_stay_with_their_weights():
    data = examples()
    letters, y, weight = with_tricks(settings(target_noise=1.0))
    np.testing.assert_array_equal(letters, data.letters[weight.astype(int)])
    letters, y, weight = with_tricks(settings("onehot_integer", shift=5, reverse_complement=0.5))
    np.testing.assert_array_equal(y, data.expression[weight.astype(int)])
    assert (letters & 127 != data.letters[weight.astype(int)]).any()


def test_batches_keep_their_shapes_and_types():
    plain = plain_batches()
    assert augment.wrap(plain, ALL, NO_TARGETS).epoch(0).element_spec == (
        plain.epoch(0).element_spec
    )


# --- the randomness ---


def test_a_resumed_epoch_continues_unchanged():
    complete = with_tricks(ALL, epoch=2)
    for part, column in zip(with_tricks(ALL, epoch=2, start=7), complete, strict=True):
        np.testing.assert_array_equal(part, column[7 * 64 :])


def test_tricks_differ_by_batch_epoch_seed_and_source():
    def noise(seed=42, source=0, epoch=0):
        _, y, weight = with_tricks(settings(seed=seed, target_noise=1.0), source, epoch=epoch)
        return (y - examples().expression[weight.astype(int)]).reshape(-1, 64)

    first = noise()
    np.testing.assert_array_equal(first, noise())
    variants = [noise(epoch=1), noise(seed=1), noise(source=1)]
    rows = np.concatenate([first, *variants])
    r = np.corrcoef(rows)[np.triu_indices(len(rows), 1)]
    assert np.abs(r).max() < 0.6  # of 64 independent pairs each: sd 0.125


@pytest.mark.parametrize("mode", ["memory", "stream"])
def test_tricks_work_in_either_mode(library, mode):
    plain = dataset.batches(library, batch_size=64, seed=1, mode=mode)
    batches = augment.wrap(plain, settings(shift=4, target_noise=0.5), NO_TARGETS)
    (letters, y), (plain_letters, expression) = columns(batches), columns(plain)
    windows = ["NNNN" + row + "NNNN" for row in sequence.text(plain_letters)]
    assert all(row in window for row, window in zip(sequence.text(letters), windows, strict=True))
    assert np.std(y - expression) == pytest.approx(0.5, rel=0.05)

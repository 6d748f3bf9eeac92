import concurrent.futures
import os
import signal

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from camformer_tf import errors, recipe
from camformer_tf.batches import dataset
from camformer_tf.data import sequence, text
from camformer_tf.model import rescnn
from camformer_tf.training import loop, optimizers

TABLE = sequence.table("onehot")
SETTINGS = recipe.ModelConfig(
    (recipe.BlockConfig(6, 5, pool=recipe.PoolConfig(4, 4)), recipe.BlockConfig(6, 5)), dense=(8,)
)


@pytest.fixture(scope="module")
def examples() -> text.Examples:
    rng = np.random.default_rng(3)
    letters = rng.choice(np.frombuffer(b"ACGT", np.uint8), (100, 30))
    expression = (letters == ord("A")).sum(axis=1) + rng.normal(size=100)
    return text.Examples(letters, expression.astype(np.float32))


def new_model(optimizer: keras.optimizers.Optimizer) -> keras.Model:
    model = rescnn.build(SETTINGS, length=30)
    model.optimizer = optimizer
    optimizer.build(model.trainable_variables)
    return model


def in_memory(examples: text.Examples) -> dataset.Batches:
    epoch = dataset.from_memory(examples, 16, 6, seed=1)
    return dataset.Batches("memory", len(examples.expression), 6, epoch)


def train(model, examples, epochs=2, callbacks=(), loss="l1"):
    loop.train(
        model,
        in_memory(examples),
        loss=optimizers.loss(loss),
        table=TABLE,
        strategy=tf.distribute.get_strategy(),
        epochs=epochs,
        batch_size=16,
        callbacks=list(callbacks),
    )
    return model.history.history


def epoch_batches(examples, epoch):
    return [
        (TABLE[x.numpy()], y.numpy())
        for x, y in dataset.from_memory(examples, 16, 6, seed=1)(epoch)
    ]


@pytest.mark.parametrize(
    ("new_optimizer", "weights", "loss"),
    [
        (lambda: keras.optimizers.SGD(0.01), 1e-5, 1e-6),
        # AdamW makes full-size steps of the rounding noise that is the gradient of a bias before a
        # normalisation: weights may differ by 12 steps of 1e-3, the function they make hardly
        (lambda: optimizers.build(recipe.TrainConfig()), 0.012, 1e-4),
    ],
    ids=["sgd", "adamw"],
)
def test_it_trains_as_keras_own_fit_does_on_the_same_batches(
    examples, new_optimizer, weights, loss
):
    model = new_model(new_optimizer())
    history = train(model, examples)
    reference = rescnn.build(SETTINGS, length=30)
    reference.compile(new_optimizer(), "mae")
    for epoch in range(2):
        x, y = (np.concatenate(part) for part in zip(*epoch_batches(examples, epoch), strict=True))
        keras_history = reference.fit(x, y, batch_size=16, shuffle=False, verbose=0)
        assert history["loss"][epoch] == pytest.approx(keras_history.history["loss"][0], rel=loss)
    for a, b in zip(model.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=weights)


def test_weights_multiply_the_losses_as_in_keras_own_fit(examples):
    weight = np.random.default_rng(5).uniform(0, 3, 100).astype(np.float32)
    with_weights = text.Examples(examples.letters, examples.expression, weight)
    model = new_model(keras.optimizers.SGD(0.01))
    history = train(model, with_weights, epochs=1)
    reference = rescnn.build(SETTINGS, length=30)
    reference.compile(keras.optimizers.SGD(0.01), "mae")
    batches = dataset.from_memory(with_weights, 16, 6, seed=1)(0).as_numpy_iterator()
    x, y, w = (np.concatenate(part) for part in zip(*batches, strict=True))
    keras_history = reference.fit(
        TABLE[x], y, sample_weight=w, batch_size=16, shuffle=False, verbose=0
    )
    for a, b in zip(model.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert history["loss"][0] == pytest.approx(keras_history.history["loss"][0], rel=1e-6)
    plain_model = new_model(keras.optimizers.SGD(0.01))
    assert train(plain_model, examples, epochs=1)["loss"][0] != history["loss"][0]


def test_training_scores_are_of_the_predictions_made_while_training(examples):
    model = new_model(keras.optimizers.SGD(0.0))  # weights stay, statistics move
    history = train(model, examples, epochs=1)
    reference = new_model(keras.optimizers.SGD(0.0))
    pairs = [(y, np.ravel(reference(x, training=True))) for x, y in epoch_batches(examples, 0)]
    y, p = (np.concatenate(part) for part in zip(*pairs, strict=True))
    assert history["pearson"][0] == pytest.approx(scipy.stats.pearsonr(y, p)[0], abs=1e-5)
    assert history["spearman"][0] == pytest.approx(scipy.stats.spearmanr(y, p)[0], abs=1e-3)
    assert history["loss"][0] == pytest.approx(np.abs(y - p).mean(), rel=1e-5)


def test_a_callback_can_stop_it_in_the_middle_of_an_epoch(examples):
    class Stop(keras.callbacks.Callback):
        count = 0

        def on_train_batch_end(self, batch, logs=None):
            self.count += 1
            self.model.stop_training = batch == 2

    stop = Stop()
    history = train(new_model(keras.optimizers.SGD(0.01)), examples, epochs=5, callbacks=[stop])
    assert (stop.count, len(history["loss"])) == (3, 1)


def test_all_epochs_share_one_trace(examples):
    traces = []

    def loss(y, p):
        traces.append(1)
        return tf.abs(y - p)

    model = new_model(keras.optimizers.SGD(0.01))
    loop.train(model, in_memory(examples), loss=loss, table=TABLE,
               strategy=tf.distribute.get_strategy(), epochs=3, batch_size=16,
               callbacks=[])  # fmt: skip
    assert len(traces) == 1


def test_a_loss_that_is_not_finite_ends_the_training_with_advice(examples):
    with pytest.raises(errors.UserError, match="epoch 1, step .*learning_rate"):
        train(new_model(keras.optimizers.SGD(1e30)), examples, loss="mse")


def test_a_stopped_training_says_where_and_how_it_continues():
    stop = loop.TrainingInterrupt(15, loop.EpochProgress(2, 1), "runs/mini")
    assert str(stop) == (
        "runs/mini: stopped in epoch 3 after 1 step; the run is kept. Continue it with --resume "
        "(resume=True)."
    )
    assert "after 1,200 steps" in str(loop.TrainingInterrupt(2, loop.EpochProgress(0, 1200)))


def test_a_signal_stops_the_training_and_its_handler_comes_back(examples):
    handler = signal.getsignal(signal.SIGINT)

    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(loop.TrainingInterrupt) as stop:
        train(new_model(keras.optimizers.SGD(0.01)), examples, callbacks=[Interrupt()])
    assert stop.value.number == signal.SIGINT
    assert (stop.value.progress.epoch, stop.value.progress.step) == (0, 3)  # the step in hand
    assert signal.getsignal(signal.SIGINT) is handler


def test_in_another_thread_it_trains_without_signals(examples):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        history = pool.submit(train, new_model(keras.optimizers.SGD(0.01)), examples).result()
    assert len(history["loss"]) == 2

import dataclasses
import subprocess
import sys

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from camformer_tf import errors, recipe
from camformer_tf.batches import dataset
from camformer_tf.data import sequence, text
from camformer_tf.model import rescnn
from camformer_tf.training import loop, optimizer

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


def new_model(made: keras.optimizers.Optimizer, settings=SETTINGS) -> keras.Model:
    model = rescnn.build(settings, length=30)
    model.optimizer = made
    made.build(model.trainable_variables)
    return model


def held(examples: text.Examples) -> dataset.Batches:
    epoch = dataset.from_memory(examples, 16, 6, seed=1)
    return dataset.Batches("memory", len(examples.expression), 6, epoch)


def train(model, examples, epochs=2, callbacks=(), loss="l1", steps_per_call=1, xla=False):
    loop.train(
        model,
        held(examples),
        loss=optimizer.loss(loss),
        table=TABLE,
        strategy=tf.distribute.get_strategy(),
        epochs=epochs,
        batch_size=16,
        callbacks=list(callbacks),
        steps_per_call=steps_per_call,
        xla=xla,
    )
    return model.history.history


def batches(examples, epoch):
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
        (lambda: optimizer.optimizer(recipe.TrainConfig()), 0.012, 1e-4),
    ],
    ids=["sgd", "adamw"],
)
def test_it_trains_as_keras_own_fit_does_on_the_same_batches(
    examples, new_optimizer, weights, loss
):
    ours = new_model(new_optimizer())
    history = train(ours, examples)
    theirs = rescnn.build(SETTINGS, length=30)
    theirs.compile(new_optimizer(), "mae")
    for epoch in range(2):
        x, y = (np.concatenate(part) for part in zip(*batches(examples, epoch), strict=True))
        fitted = theirs.fit(x, y, batch_size=16, shuffle=False, verbose=0)
        assert history["loss"][epoch] == pytest.approx(fitted.history["loss"][0], rel=loss)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=weights)


def test_weights_multiply_the_losses_as_in_keras_own_fit(examples):
    weight = np.random.default_rng(5).uniform(0, 3, 100).astype(np.float32)
    weighted = text.Examples(examples.letters, examples.expression, weight)
    ours = new_model(keras.optimizers.SGD(0.01))
    history = train(ours, weighted, epochs=1)
    theirs = rescnn.build(SETTINGS, length=30)
    theirs.compile(keras.optimizers.SGD(0.01), "mae")
    drawn = dataset.from_memory(weighted, 16, 6, seed=1)(0).as_numpy_iterator()
    x, y, w = (np.concatenate(part) for part in zip(*drawn, strict=True))
    fitted = theirs.fit(TABLE[x], y, sample_weight=w, batch_size=16, shuffle=False, verbose=0)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert history["loss"][0] == pytest.approx(fitted.history["loss"][0], rel=1e-6)
    unweighted = new_model(keras.optimizers.SGD(0.01))
    assert train(unweighted, examples, epochs=1)["loss"][0] != history["loss"][0]


def test_training_scores_are_of_the_predictions_made_while_training(examples):
    still = new_model(keras.optimizers.SGD(0.0))  # weights stand, statistics move
    history = train(still, examples, epochs=1)
    again = new_model(keras.optimizers.SGD(0.0))
    pairs = [(y, np.ravel(again(x, training=True))) for x, y in batches(examples, 0)]
    y, p = (np.concatenate(part) for part in zip(*pairs, strict=True))
    assert history["pearson"][0] == pytest.approx(scipy.stats.pearsonr(y, p)[0], abs=1e-5)
    assert history["spearman"][0] == pytest.approx(scipy.stats.spearmanr(y, p)[0], abs=1e-3)
    assert history["loss"][0] == pytest.approx(np.abs(y - p).mean(), rel=1e-5)


def test_a_callback_can_stop_it_in_the_middle_of_an_epoch(examples):
    class Stop(keras.callbacks.Callback):
        seen = 0

        def on_train_batch_end(self, batch, logs=None):
            self.seen += 1
            self.model.stop_training = batch == 2

    stop = Stop()
    history = train(new_model(keras.optimizers.SGD(0.01)), examples, epochs=5, callbacks=[stop])
    assert (stop.seen, len(history["loss"])) == (3, 1)


WITH_DROPOUT = dataclasses.replace(
    SETTINGS, blocks=tuple(dataclasses.replace(block, dropout=0.3) for block in SETTINGS.blocks)
)
NO_POOLING = dataclasses.replace(
    WITH_DROPOUT,
    blocks=tuple(dataclasses.replace(block, pool=None) for block in WITH_DROPOUT.blocks),
)


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("steps_per_call", [4, 100])
def test_several_steps_a_call_come_to_the_same_bits(
    examples, steps_per_call, in_graph, monkeypatch
):
    monkeypatch.setattr(loop, "_loops_in_graph", lambda: in_graph)

    class Look(keras.callbacks.Callback):
        seen = []

        def on_train_batch_end(self, batch, logs=None):
            self.seen.append(batch)

    look, results = Look(), []
    for number, calls in ((1, []), (steps_per_call, [look])):
        made = optimizer.optimizer(recipe.TrainConfig())
        model = new_model(made, NO_POOLING)  # whose gradient oneDNN may round otherwise in a loop
        history = train(model, examples, callbacks=calls, steps_per_call=number)
        del history["sequences_per_second"]
        values = [*model.variables, *made.variables]
        results.append((history, [keras.ops.convert_to_numpy(v).tobytes() for v in values]))
    assert results[0] == results[1]
    assert look.seen == ([3, 5] if steps_per_call == 4 else [5]) * 2  # of 6 steps an epoch


def test_a_step_compiled_by_xla_trains_as_one_that_is_not(examples):
    results = []
    for xla in (False, True):
        model = new_model(keras.optimizers.SGD(0.01), WITH_DROPOUT)
        history = train(model, examples, steps_per_call=3, xla=xla)
        results.append((history, model.get_weights()))
    (history, weights), (compiled_history, compiled) = results
    assert compiled_history["loss"] == pytest.approx(history["loss"], rel=1e-5)
    for a, b in zip(weights, compiled, strict=True):  # other sums: float32 rounding of 12 steps
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_all_epochs_share_one_trace(examples):
    traces = []

    def loss(y, p):
        traces.append(1)
        return tf.abs(y - p)

    model = new_model(keras.optimizers.SGD(0.01))
    loop.train(model, held(examples), loss=loss, table=TABLE,
               strategy=tf.distribute.get_strategy(), epochs=3, batch_size=16,
               callbacks=[])  # fmt: skip
    assert len(traces) == 1


def test_a_loss_that_is_not_finite_ends_the_training_with_advice(examples):
    with pytest.raises(errors.UserError, match="epoch 1, step .*learning_rate"):
        train(new_model(keras.optimizers.SGD(1e30)), examples, loss="mse")


MASKS = """
import tensorflow as tf
import subprocess
import sys

import keras
from camformer_tf.training import loop, strategy
devices = strategy.make("mirrored", 2)
with devices.strategy.scope():
    model = keras.Sequential([keras.Input((1000,)), keras.layers.Dropout(0.5, seed=3)])

@tf.function
def masks():
    ones = tf.ones((1, 1000))
    return devices.strategy.run(lambda: model(ones, training=True))

def equal_share():
    a, b = devices.strategy.experimental_local_results(masks())
    return float(tf.reduce_mean(tf.cast(a == b, tf.float32)))

print(equal_share())
loop._spread_seeds(model, devices.strategy)
print(equal_share(), equal_share())
"""


@pytest.mark.distributed
def test_replicas_draw_dropout_masks_of_their_own():
    done = subprocess.run(
        [sys.executable, "-c", MASKS], capture_output=True, text=True, timeout=120, check=True
    )
    before, *after = map(float, done.stdout.split())
    assert before == 1  # why the seeds are spread
    assert all(0.4 < share < 0.6 for share in after)  # two independent fair coins


OVERFLOW = """
import keras, numpy as np, tensorflow as tf
from camformer_tf.batches import dataset
from camformer_tf.training import loop, strategy
devices = strategy.make("mirrored", 2, "mixed_float16")
with devices.strategy.scope():
    model = keras.Sequential([keras.Input((3, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
    model.optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
    model.optimizer.build(model.trainable_variables)
before = model.get_weights()
# The second replica's half of the first batch overflows: 3e38 * 3e38.
y = np.array([1, 1, 3e38, 3e38, 1, 1, 1, 1], np.float32)
x = np.tile(np.frombuffer(b"AAA", np.uint8), (8, 1))
data = tf.data.Dataset.from_tensor_slices((x, y)).batch(4, drop_remainder=True)
batches = dataset.Batches("memory", 8, 2, lambda epoch: data)
table = np.ones((256, 1), np.float32)
steps = []
class Look(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        steps.append([np.isfinite(w).all() and not np.array_equal(w, b)
                      for w, b in zip(model.get_weights(), before)][0])
loss = lambda y, p: tf.where(y > 1e30, p * y * 1e30, tf.square(y - p))
loop._finite = lambda value, progress: value if np.isfinite(value) else 0.0
loop.train(model, batches, loss=loss, table=table, strategy=devices.strategy, epochs=1,
           batch_size=4, callbacks=[Look()])
scale = float(model.optimizer.dynamic_scale.numpy())
print(steps, scale, np.isfinite(model.get_weights()[0]).all())
"""


@pytest.mark.distributed
def test_where_one_replica_overflows_all_skip_the_step():
    done = subprocess.run([sys.executable, "-c", OVERFLOW], capture_output=True, text=True,
                          timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    # the first step skipped and the scale halved, the second made
    assert done.stdout.split("] ")[0] == "[False, True"
    assert done.stdout.split("] ")[1].split() == ["16384.0", "True"]

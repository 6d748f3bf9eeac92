import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import programs

from camformer_tf import recipe
from camformer_tf.batches import dataset
from camformer_tf.data import sequence, text
from camformer_tf.model import rescnn
from camformer_tf.training import loop, optimizers, steps

SETTINGS = recipe.ModelConfig(
    (recipe.BlockConfig(6, 5, pool=recipe.PoolConfig(4, 4)), recipe.BlockConfig(6, 5)), dense=(8,)
)


@pytest.fixture(scope="module")
def examples() -> text.Examples:
    rng = np.random.default_rng(3)
    letters = rng.choice(np.frombuffer(b"ACGT", np.uint8), (100, 30))
    expression = (letters == ord("A")).sum(axis=1) + rng.normal(size=100)
    return text.Examples(letters, expression.astype(np.float32))


def new_model(optimizer: keras.optimizers.Optimizer, settings: recipe.ModelConfig) -> keras.Model:
    model = rescnn.build(settings, length=30)
    model.optimizer = optimizer
    optimizer.build(model.trainable_variables)
    return model


def train(model, examples, callbacks=(), steps_per_call=1, xla=False) -> dict:
    epoch = dataset.from_memory(examples, 16, 6, seed=1)
    loop.train(
        model,
        dataset.Batches("memory", len(examples.expression), 6, epoch),
        loss=optimizers.loss("l1"),
        table=sequence.table("onehot"),
        strategy=tf.distribute.get_strategy(),
        epochs=2,
        batch_size=16,
        callbacks=list(callbacks),
        steps_per_call=steps_per_call,
        xla=xla,
    )
    return model.history.history


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
    monkeypatch.setattr(steps, "loops_in_graph", lambda: in_graph)

    class Watch(keras.callbacks.Callback):
        batches = []

        def on_train_batch_end(self, batch, logs=None):
            self.batches.append(batch)

    watch, results = Watch(), []
    for number, calls in ((1, []), (steps_per_call, [watch])):
        optimizer = optimizers.build(recipe.TrainConfig())
        model = new_model(
            optimizer, NO_POOLING
        )  # whose gradient oneDNN may round otherwise in a loop
        history = train(model, examples, callbacks=calls, steps_per_call=number)
        del history["sequences_per_second"]
        values = [*model.variables, *optimizer.variables]
        results.append((history, [keras.ops.convert_to_numpy(v).tobytes() for v in values]))
    assert results[0] == results[1]
    assert watch.batches == ([3, 5] if steps_per_call == 4 else [5]) * 2  # of 6 steps an epoch


def test_a_step_compiled_by_xla_trains_as_one_that_is_not(examples):
    results = []
    for xla in (False, True):
        model = new_model(keras.optimizers.SGD(0.01), WITH_DROPOUT)
        history = train(model, examples, steps_per_call=3, xla=xla)
        results.append((history, model.get_weights()))
    (history, weights), (xla_history, xla_weights) = results
    assert xla_history["loss"] == pytest.approx(history["loss"], rel=1e-5)
    for a, b in zip(weights, xla_weights, strict=True):  # other sums: float32 rounding of 12 steps
        np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.distributed
def test_replicas_draw_different_dropout_masks():
    initial, *shares = map(float, programs.run("dropout_masks").split())
    assert initial == 1  # why the seeds are changed
    assert all(0.4 < share < 0.6 for share in shares)  # two independent fair coins


@pytest.mark.distributed
def test_where_one_replica_overflows_all_skip_the_step():
    output = programs.run("overflow")
    # the first step skipped and the scale halved, the second made
    assert output.split("] ")[0] == "[False, True"
    assert output.split("] ")[1].split() == ["16384.0", "True"]

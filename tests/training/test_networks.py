"""A user's own network in place of the recipe's."""

import keras
import numpy as np
import pandas as pd
import pytest

import camformer_tf as cf
from camformer_tf import errors, recipe, rundir
from camformer_tf.data import predictions
from camformer_tf.metrics import correlation
from camformer_tf.model import inference
from camformer_tf.training import networks

OPTIONS = {"epochs": 2, "batch_size": 256}


def new_net(last: tuple = (), channels: int = 4, length: int = 110) -> keras.Model:
    """Returns a small network with the same weights each time."""
    initial = {"kernel_initializer": keras.initializers.GlorotUniform(seed=1)}
    return keras.Sequential(
        [
            keras.Input((length, channels)),
            keras.layers.Conv1D(16, 12, activation="relu", **initial),
            keras.layers.Dropout(0.1, seed=2),
            keras.layers.GlobalMaxPooling1D(),
            keras.layers.Dense(1, **initial),
            *last,
        ]
    )


@pytest.fixture(scope="module")
def own_run(library, tmp_path_factory):
    path, net = tmp_path_factory.mktemp("own") / "run", new_net()
    return path, net, cf.fit("smoke", library, path, model=net, **OPTIONS)


def test_an_own_network_is_trained_and_counted(own_run):
    _, net, run = own_run
    assert run.parameters == 4 * 12 * 16 + 16 + 16 + 1
    assert run.precision == "float32" and run.epochs == 2
    assert not np.array_equal(net.get_weights()[0], new_net().get_weights()[0])


def test_the_saved_network_predicts_what_the_best_epoch_did(own_run):
    path, _, run = own_run
    table = predictions.read(path / rundir.VAL_PREDICTIONS)
    r = correlation.pearson(table.expression, table.prediction)
    assert r == pytest.approx(run.best_pearson, abs=1e-6)
    model = inference.load(path)
    values = model.predict(list(table.sequences[:5])).prediction
    np.testing.assert_allclose(values, table.prediction[:5], rtol=1e-5)


def test_recipe_yaml_does_not_claim_the_recipes_network(own_run):
    path, _, _ = own_run
    text = (path / rundir.RECIPE).read_text()
    assert text.startswith("# The network is not this recipe's. It is a custom keras.Model of 801")
    settings = recipe.load(path / rundir.RECIPE)
    assert settings.model.blocks == () and settings.expect.parameters is None
    assert settings.train.epochs == 2


def test_a_stopped_training_of_an_own_network_is_resumed_with_it(own_run, library, tmp_path):
    class Crash(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 7:
                raise KeyboardInterrupt

    path, _, _ = own_run
    with pytest.raises(KeyboardInterrupt):
        cf.fit(
            "smoke", library, tmp_path / "run", model=new_net(), checkpoint_steps=1,
            callbacks=[Crash()], **OPTIONS,
        )  # fmt: skip
    with pytest.raises(errors.UserError, match="cannot be resumed as a different run"):
        cf.fit("smoke", library, tmp_path / "run", resume=True, precision="float32", **OPTIONS)
    cf.fit("smoke", library, tmp_path / "run", model=new_net(), resume=True, **OPTIONS)
    for name in (rundir.LOG, rundir.VAL_PREDICTIONS):
        assert (tmp_path / "run" / name).read_bytes() == (path / name).read_bytes()


def test_an_output_without_a_last_axis_is_fine(library, tmp_path):
    net = new_net((keras.layers.Flatten(), keras.layers.Reshape(())))
    assert net.output_shape == (None,)
    cf.fit("smoke", library, tmp_path / "run", model=net, epochs=1)
    assert pd.read_csv(tmp_path / "run" / rundir.HISTORY).val_loss.notna().all()


def test_a_network_in_bfloat16_is_trained_in_it(library, tmp_path):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        net = new_net()
    finally:
        keras.config.set_dtype_policy(policy)
    assert networks.own_precision(net) == "mixed_bfloat16"
    run = cf.fit("smoke", library, tmp_path / "run", model=net, epochs=1)
    assert run.precision == "mixed_bfloat16"


FROZEN = new_net()
FROZEN.trainable = False
FLANKS = ["tricks.flanks.cut_left=17"]


@pytest.mark.parametrize(
    ("net", "options", "message"),
    [
        (lambda: "mini", {}, "expected a keras.Model"),
        (lambda: new_net(channels=5), {}, r"inputs of shape \(None, 110, 5\).*\(batch, 110, 4\)"),
        (lambda: new_net(length=90), {}, r"inputs of shape \(None, 90, 4\)"),
        (lambda: new_net((keras.layers.Dense(3),)), {}, r"returns shape \('batch', 3\)"),
        (lambda: FROZEN, {}, "no trainable parameters"),
        (new_net, {"devices": 2}, "trained on one device"),
        (new_net, {"strategy": "mirrored"}, "trained on one device"),
        (new_net, {"precision": "mixed_bfloat16"}, "have the policy float32"),
        (new_net, {"overrides": FLANKS}, "tricks.flanks changes the recipe's network"),
        (new_net, {"seeds": [1, 2]}, "Call fit once for each seed"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(library, tmp_path, net, options, message):
    with pytest.raises(errors.UserError, match=message):
        cf.fit("smoke", library, tmp_path / "run", model=net(), **options)
    assert list(tmp_path.iterdir()) == []

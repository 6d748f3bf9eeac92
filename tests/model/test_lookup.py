import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from camformer_tf import recipe
from camformer_tf.model import inference, lookup, predictors, rescnn

BLOCKS = [
    {"filters": 128, "kernel": 3},
    {"filters": 128, "kernel": 4, "pool": {"size": 3, "stride": 2}},
    {"filters": 16, "kernel": 3},
]
POOL = {"size": 3, "stride": 2}


def build_settings(blocks=BLOCKS, *overrides: str) -> recipe.Recipe:
    plain = recipe.load("smoke", ["model.residual=false", "model.dense=[8]", *overrides])
    configs = tuple(
        recipe.BlockConfig(
            **{**block, "pool": recipe.PoolConfig(**block["pool"]) if "pool" in block else None}
        )
        for block in blocks
    )
    return dataclasses.replace(plain, model=dataclasses.replace(plain.model, blocks=configs))


def build_network(settings: recipe.Recipe):
    """A network with random moving statistics, whose predictions differ between sequences."""
    network = rescnn.from_recipe(settings)
    rng = np.random.default_rng(3)
    for variable in network.variables:
        if "kernel" in variable.path:
            fan_in = np.prod(variable.shape[:-1])
            variable.assign(rng.normal(0, np.sqrt(2 / fan_in), variable.shape))
        elif variable.path.startswith("norm"):
            low, high = (-0.3, 0.3) if "mean" in variable.path else (0.5, 1.5)
            variable.assign(rng.uniform(low, high, variable.shape))
    return network


def split(settings: recipe.Recipe) -> lookup.Lookup | None:
    return lookup.split(rescnn.from_recipe(settings, is_folded=True), settings)


@pytest.mark.parametrize(
    "settings",
    [
        build_settings(),
        build_settings(BLOCKS, "model.padding=0"),
        build_settings(BLOCKS, "model.padding=5", "data.encoding=onehot_purine"),
        build_settings(BLOCKS, "data.encoding=onehot_integer_purine", "data.length=33"),
        build_settings(BLOCKS[:1] * 4, "model.residual=true", "data.encoding=onehot_n"),
        recipe.load("mini"),
    ],
    ids=["same", "none", "explicit", "encoding", "residual", "mini"],
)
def test_predictions_are_those_of_the_whole_network(settings):
    assert split(settings)
    network = build_network(settings)
    rng = np.random.default_rng(0)
    letters = rng.choice(np.frombuffer(b"ACGTNacgtn?\0\xff", np.uint8), (40, settings.data.length))
    expected = predictors.plain(network, settings.data.encoding)(letters)
    predict = predictors.snapshot(network, settings, "float32", recipe.PREDICT_BATCH_SIZE)
    predictions = predict(letters)
    # Sums of float32 in another order, folded besides: 3e-5 of a standard deviation seen.
    np.testing.assert_allclose(predictions, expected, rtol=0, atol=1e-4 * expected.std())


def test_the_second_convolutions_outputs_are_those_of_sums_in_float64():
    settings = build_settings(BLOCKS[:2], "model.padding=1", "data.length=12")
    folded_network = rescnn.from_recipe(settings, is_folded=True)
    rescnn.fold(build_network(settings), folded_network)
    parts = lookup.split(folded_network, settings)
    letters = np.frombuffer(b"ACGTTGCANNAC", np.uint8)
    x = np.zeros((12, 4))
    for i, letter in enumerate(letters):
        x[i, b"ACGT".find(letter)] = letter != ord("N")
    for name in ("conv_1", "conv_2"):
        kernel, bias = (w.astype(np.float64) for w in folded_network.get_layer(name).get_weights())
        x = np.pad(x, [(1, 1), (0, 0)])
        starts = range(len(x) - len(kernel) + 1)
        x = np.array([np.tensordot(x[i : i + len(kernel)], kernel, 2) + bias for i in starts])
        x = np.maximum(x, 0)
    outputs = parts.outputs(parts.table(), tf.constant(letters[None]))
    np.testing.assert_allclose(outputs[0], x, rtol=0, atol=1e-5 * x.max())


def test_predictions_use_the_weights_at_the_time_of_the_call():
    settings = build_settings()
    network = build_network(settings)
    letters = np.full((2, 110), ord("A"), np.uint8)
    predictor = predictors.folding(network, settings)
    first = predictor(letters)
    network.get_layer("conv_1").bias.assign_add(np.ones(128))
    expected = predictors.plain(network, "onehot")(letters)
    np.testing.assert_allclose(predictor(letters), expected, rtol=1e-5)
    assert np.abs(first - expected).min() > 1e-3


@pytest.mark.parametrize(
    "settings",
    [
        build_settings([BLOCKS[0] | {"pool": POOL}, *BLOCKS[1:]]),
        build_settings([BLOCKS[0] | {"filters": 64}, *BLOCKS[1:]]),
        build_settings([BLOCKS[0] | {"kernel": 7}, *BLOCKS[1:]]),
        build_settings(BLOCKS[:1]),
        build_settings(BLOCKS, "tricks.flanks.cut_left=3", "tricks.flanks.add_left=ACG"),
        recipe.load("original"),
    ],
    ids=["pool between", "few filters", "wide kernel", "one block", "flanks", "original"],
)
def test_other_networks_are_not_split(settings):
    assert split(settings) is None
    letters = np.full((2, 110), ord("C"), np.uint8)
    network = build_network(settings)
    expected = predictors.plain(network, settings.data.encoding)(letters)
    predictions = inference.from_network(network, settings).predict_letters(letters)
    np.testing.assert_allclose(predictions, expected, rtol=1e-4)

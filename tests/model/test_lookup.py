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


def settings_of(blocks=BLOCKS, *overrides: str) -> recipe.Recipe:
    plain = recipe.load("smoke", ["model.residual=false", "model.dense=[8]", *overrides])
    listed = tuple(
        recipe.BlockConfig(
            **{**one, "pool": recipe.PoolConfig(**one["pool"]) if "pool" in one else None}
        )
        for one in blocks
    )
    return dataclasses.replace(plain, model=dataclasses.replace(plain.model, blocks=listed))


def network_of(settings: recipe.Recipe):
    """A network whose answers differ from sequence to sequence, moving statistics and all."""
    network = rescnn.from_recipe(settings)
    draw = np.random.default_rng(3)
    for variable in network.variables:
        if "kernel" in variable.path:
            fan_in = np.prod(variable.shape[:-1])
            variable.assign(draw.normal(0, np.sqrt(2 / fan_in), variable.shape))
        elif variable.path.startswith("norm"):
            low, high = (-0.3, 0.3) if "mean" in variable.path else (0.5, 1.5)
            variable.assign(draw.uniform(low, high, variable.shape))
    return network


def parts_of(settings: recipe.Recipe) -> lookup.Lookup | None:
    return lookup.of(rescnn.from_recipe(settings, folded=True), settings)


@pytest.mark.parametrize(
    "settings",
    [
        settings_of(),
        settings_of(BLOCKS, "model.padding=0"),
        settings_of(BLOCKS, "model.padding=5", "data.encoding=onehot_purine"),
        settings_of(BLOCKS, "data.encoding=onehot_integer_purine", "data.length=33"),
        settings_of(BLOCKS[:1] * 4, "model.residual=true", "data.encoding=onehot_n"),
        recipe.load("mini"),
    ],
    ids=["same", "none", "explicit", "encoding", "residual", "mini"],
)
def test_predictions_are_those_of_the_whole_network(settings):
    assert parts_of(settings)
    network = network_of(settings)
    draw = np.random.default_rng(0)
    letters = draw.choice(np.frombuffer(b"ACGTNacgtn?\0\xff", np.uint8), (40, settings.data.length))
    expected = predictors.plain(network, settings.data.encoding)(letters)
    predict = predictors.snapshots(network, settings, "float32", recipe.PREDICT_BATCH_SIZE)()
    found = predict(letters)
    # Sums of float32 in another order, folded besides: 3e-5 of a standard deviation seen.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * expected.std())


def test_the_second_convolutions_outputs_are_those_of_sums_in_float64():
    settings = settings_of(BLOCKS[:2], "model.padding=1", "data.length=12")
    folded = rescnn.from_recipe(settings, folded=True)
    rescnn.fold(network_of(settings), folded)
    parts = lookup.of(folded, settings)
    letters = np.frombuffer(b"ACGTTGCANNAC", np.uint8)
    x = np.zeros((12, 4))
    for i, letter in enumerate(letters):
        x[i, b"ACGT".find(letter)] = letter != ord("N")
    for name in ("conv_1", "conv_2"):
        kernel, bias = (w.astype(np.float64) for w in folded.get_layer(name).get_weights())
        x = np.pad(x, [(1, 1), (0, 0)])
        places = range(len(x) - len(kernel) + 1)
        x = np.array([np.tensordot(x[i : i + len(kernel)], kernel, 2) + bias for i in places])
        x = np.maximum(x, 0)
    found = parts.outputs(parts.table(), tf.constant(letters[None]))
    np.testing.assert_allclose(found[0], x, rtol=0, atol=1e-5 * x.max())


def test_predictions_are_those_of_the_weights_of_the_moment():
    settings = settings_of()
    network = network_of(settings)
    letters = np.full((2, 110), ord("A"), np.uint8)
    predictor = predictors.folding(network, settings)
    before = predictor(letters)
    network.get_layer("conv_1").bias.assign_add(np.ones(128))
    expected = predictors.plain(network, "onehot")(letters)
    np.testing.assert_allclose(predictor(letters), expected, rtol=1e-5)
    assert np.abs(before - expected).min() > 1e-3


@pytest.mark.parametrize(
    "settings",
    [
        settings_of([BLOCKS[0] | {"pool": POOL}, *BLOCKS[1:]]),
        settings_of([BLOCKS[0] | {"filters": 64}, *BLOCKS[1:]]),
        settings_of([BLOCKS[0] | {"kernel": 7}, *BLOCKS[1:]]),
        settings_of(BLOCKS[:1]),
        settings_of(BLOCKS, "tricks.flanks.cut_left=3", "tricks.flanks.add_left=ACG"),
        recipe.load("original"),
    ],
    ids=["pool between", "few filters", "wide kernel", "one block", "flanks", "original"],
)
def test_other_networks_are_not_parted(settings):
    assert parts_of(settings) is None
    letters = np.full((2, 110), ord("C"), np.uint8)
    network = network_of(settings)
    expected = predictors.plain(network, settings.data.encoding)(letters)
    found = inference.from_network(network, settings).predict_letters(letters)
    np.testing.assert_allclose(found, expected, rtol=1e-4)

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from camformer_tf import errors, recipe, shapes
from camformer_tf.data import sequence
from camformer_tf.model import rescnn

# reference.md 4.5: manuscript_figures/Figure_S4, Bornelov-lab/Camformer@feaa529
PARAMETERS = {
    ("original", 4): 16_611_073,
    ("original", 5): 16_616_193,
    ("original", 6): 16_621_313,
    ("large", 4): 16_611_073,
    ("large", 5): 16_616_193,
    ("large", 6): 16_621_313,
    ("small", 4): 3_401_601,
    ("small", 5): 3_402_881,
    ("small", 6): 3_404_161,
    ("mini", 4): 1_444_801,
    ("mini", 5): 1_446_721,
    ("mini", 6): 1_448_641,
}

PROGRAMS = Path(__file__).parents[1] / "support" / "programs"


def config(blocks, **options) -> recipe.ModelConfig:
    return recipe.ModelConfig(tuple(recipe.BlockConfig(**block) for block in blocks), **options)


@pytest.mark.parametrize(("name", "channels"), PARAMETERS)
def test_the_parameter_count_is_the_published_one(name, channels):
    model = rescnn.build(recipe.load(name).model, channels=channels)
    assert rescnn.count_trainable(model) == PARAMETERS[name, channels]


@pytest.mark.parametrize("name", recipe.shipped_files())
def test_every_shipped_recipe_builds_what_it_expects(name):
    settings = recipe.load(name)
    model = rescnn.build(
        settings.model,
        length=settings.data.length,
        channels=sequence.channels(settings.data.encoding),
    )
    assert settings.expect.parameters in (None, rescnn.count_trainable(model))
    assert model.output_shape == (None, 1)


def test_each_layer_of_the_original_has_the_published_count():
    # manuscript_figures/Figure_2/data/model_str.md, Bornelov-lab/Camformer@feaa529
    model = rescnn.build(recipe.load("original").model)

    def count(name):
        return sum(int(np.prod(v.shape)) for v in model.get_layer(name).trainable_variables)

    assert count("conv_1") == 20_992
    assert {count(f"conv_{i}") for i in range(2, 7)} == {2_621_952}
    assert {count(f"norm_{i}") for i in range(1, 7)} == {1_024}
    assert [count(n) for n in ("dense_1", "dense_2", "expression")] == [3_408_128, 65_792, 257]


@pytest.mark.parametrize(
    ("name", "lengths", "statistics"),
    [
        ("original", [110, 110, 110, 110, 26, 26], 6_144),
        ("small", [110, 110, 110, 110, 53, 53], 3_072),
        ("mini", [116, 121, 126, 63, 69, 76], 2_304),
    ],
)
def test_lengths_and_running_statistics_are_the_published_ones(name, lengths, statistics):
    settings = recipe.load(name).model
    assert shapes.block_lengths(settings, 110) == lengths
    model = rescnn.build(settings)
    norms = [layer for layer in model.layers if layer.name.startswith("norm_")]
    count = sum(int(np.prod(v.shape)) for n in norms for v in n.non_trainable_variables)
    assert count == statistics
    positions = [layer.output.shape[1] for layer in model.layers if "relu_dropout" in layer.name]
    assert positions == lengths


def test_layer_names_are_the_contract():
    names = [layer.name for layer in rescnn.build(recipe.load("mini").model).layers]
    assert names[:6] == ["onehot", "pad_1", "conv_1", "norm_1", "relu_dropout_1", "pad_2"]
    assert names[-4:] == ["flatten", "dense_1", "dense_relu_1", "expression"]
    original = [layer.name for layer in rescnn.build(recipe.load("original").model).layers]
    assert [n for n in original if n.startswith("add_")] == ["add_2", "add_4", "add_6"]
    start = original.index("conv_5")
    assert original[start : start + 4] == ["conv_5", "norm_5", "pool_5", "relu_dropout_5"]
    plain = rescnn.build(recipe.load("original", ["model.blocks.4.dropout=0.0"]).model)
    assert plain.get_layer("relu_5") and "relu_dropout_5" not in [x.name for x in plain.layers]


def plain_forward(model: keras.Model, settings: recipe.ModelConfig, x: np.ndarray) -> np.ndarray:
    """The network from reference.md 4.1 in plain numpy: float64 (L, C) → the expression."""

    def weights(name):
        return [np.asarray(v, np.float64) for v in model.get_layer(name).get_weights()]

    shortcut = None
    for i, block in enumerate(settings.blocks, 1):
        kernel, bias = weights(f"conv_{i}")
        is_same = settings.padding == "same"
        left = (block.kernel - 1) // 2 if is_same else settings.padding
        right = block.kernel - 1 - left if is_same else settings.padding
        longer = np.pad(x, [(left, right), (0, 0)])
        x = np.array(
            [
                np.einsum("kc,kcf->f", longer[p : p + block.kernel], kernel) + bias
                for p in range(len(longer) - block.kernel + 1)
            ]
        )
        gamma, beta, mean, variance = weights(f"norm_{i}")
        x = np.maximum((x - mean) / np.sqrt(variance + 1e-5) * gamma + beta, 0)
        if block.pool:
            starts = range(0, len(x) - block.pool.size + 1, block.pool.stride)
            x = np.array([x[s : s + block.pool.size].max(axis=0) for s in starts])
        if settings.residual and i % 2 == 0:
            x = x + shortcut
        shortcut = x
    x = x.reshape(-1)  # channels last: position by position
    for j in range(1, len(settings.dense) + 1):
        kernel, bias = weights(f"dense_{j}")
        x = np.maximum(x @ kernel + bias, 0)
    kernel, bias = weights("expression")
    return x @ kernel + bias


@pytest.mark.parametrize(
    "settings",
    [
        config(
            [
                {"filters": 6, "kernel": 10, "dropout": 0.3, "pool": recipe.PoolConfig(10, 4)},
                {"filters": 6, "kernel": 10, "dropout": 0.3},
                {"filters": 5, "kernel": 3},
                {"filters": 5, "kernel": 4},
            ],
            dense=(7, 3),
        ),
        config(
            [
                {"filters": 4, "kernel": 5, "pool": recipe.PoolConfig(7, 2)},
                {"filters": 3, "kernel": 4},
            ],
            residual=False,
            padding=5,
            dense=(),
        ),
    ],
    ids=["residual", "plain"],
)
def test_the_network_computes_what_the_description_says(settings):
    rng = np.random.default_rng(1)
    model = rescnn.build(settings, length=40)
    for layer in model.layers:  # statistics other than 0 and 1, so that they are seen
        if layer.name.startswith("norm_"):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    x = rng.normal(size=(3, 40, 4)).astype(np.float32)
    expected = [plain_forward(model, settings, row.astype(np.float64)) for row in x]
    # float32 against float64 over sums of up to 60 terms and six layers
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-5)


def test_weights_start_as_pytorch_starts_them():
    model = rescnn.build(recipe.load("original").model)
    for name, fan_in in [("conv_1", 40), ("conv_2", 5_120), ("dense_1", 13_312), ("dense_2", 256)]:
        limit = fan_in**-0.5
        kernel, bias = model.get_layer(name).get_weights()
        assert np.abs(kernel).max() <= limit and np.abs(bias).max() <= limit
        # sd of a uniform distribution; 5 standard errors of it for the smaller of the kernels
        assert kernel.std() == pytest.approx(limit / 3**0.5, rel=5 / kernel.size**0.5)
        assert bias.std() == pytest.approx(limit / 3**0.5, rel=0.15)
    gamma, beta, mean, variance = model.get_layer("norm_1").get_weights()
    assert (gamma == 1).all() and (beta == 0).all() and (mean == 0).all() and (variance == 1).all()


def test_the_start_depends_on_the_seed_alone():
    settings = recipe.load("smoke").model
    first, repeat, second = (
        np.concatenate([w.ravel() for w in rescnn.build(settings, seed=seed).get_weights()])
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, repeat)
    assert np.abs(first - second).max() > 0.01


def test_two_layers_of_one_shape_start_differently():
    model = rescnn.build(recipe.load("original").model)
    assert not np.array_equal(*(model.get_layer(f"conv_{i}").get_weights()[0] for i in (2, 3)))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([{"filters": 8, "kernel": 3}] * 3, "model.blocks: residual blocks come in pairs, found 3"),
        ([{"filters": 8, "kernel": 3}, {"filters": 9, "kernel": 3}], "model.blocks.1: .* 9"),
        (
            [
                {"filters": 8, "kernel": 3},
                {"filters": 8, "kernel": 3, "pool": recipe.PoolConfig(2, 2)},
            ],
            "model.blocks.1: .*8 filters and 110 positions, found 8 and 55",
        ),
        (
            [
                {"filters": 8, "kernel": 3, "pool": recipe.PoolConfig(111, 1)},
                {"filters": 8, "kernel": 3},
            ],
            "model.blocks.0: nothing is left",
        ),
        ([], "at least one block"),
    ],
)
def test_an_impossible_network_is_refused(overrides, message):
    with pytest.raises(errors.UserError, match=message):
        rescnn.build(config(overrides))


def test_settings_in_the_users_keras_json_do_not_reach_the_network(tmp_path):
    hostile = {"image_data_format": "channels_first", "floatx": "float16", "epsilon": 0.5}
    (tmp_path / "keras.json").write_text(json.dumps(hostile))
    process = subprocess.run(
        [sys.executable, PROGRAMS / "hostile_keras.py"],
        env={**os.environ, "KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert process.stdout.strip() == "(None, 110, 32) float32 1e-05 59073"


def test_another_keras_backend_is_refused_with_a_sentence(tmp_path):
    process = subprocess.run(
        [sys.executable, PROGRAMS / "hostile_keras.py"],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode != 0
    assert "UserError: the Keras backend is 'jax'" in process.stderr

"""Checkpoints of PyTorch as .keras files: names, shapes and weights."""

import sys
from pathlib import Path

import click.testing
import keras
import numpy as np
import pytest
import tensorflow as tf

from camformer_tf import cli, errors, recipe
from camformer_tf.data import predictions, sequence
from camformer_tf.export import export
from camformer_tf.model import keras_file, rescnn, torch_import

CHANGES = {"overrides": ["data.encoding=onehot_purine"]}
RESIDUAL = recipe.load("smoke", CHANGES["overrides"])
PLAIN = recipe.parse(
    "model: {residual: false, padding: 5, dense: [6], blocks: [{filters: 4, kernel: 5, pool: "
    "{size: 7, stride: 2}}, {filters: 3, kernel: 4}]}",
    source="plain",
)
SEQUENCES = ["".join(row) for row in np.random.default_rng(3).choice(list("ACGTN"), (20, 110))]
SEQUENCES = [s.replace("N", "A", s.count("N") - 3) if s.count("N") > 3 else s for s in SEQUENCES]


def build(settings: recipe.Recipe) -> keras.Model:
    return rescnn.build(settings.model, channels=sequence.channels(settings.data.encoding))


def random_state(model: keras.Model, seed: int = 0) -> dict[str, np.ndarray]:
    """A state dict for a network, with positive numbers as variances have to be."""
    rng = np.random.default_rng(seed)
    state = {
        name: rng.uniform(0.01, 0.1, shape).astype(np.float32)
        for name, shape in torch_import.shapes(model).items()
    }
    blocks = {name.rpartition(".")[0] for name in state if "running_mean" in name}
    return state | {f"{block}.num_batches_tracked": np.array(7) for block in blocks}


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return build(RESIDUAL)


def test_names_and_shapes_are_those_of_the_original():
    # reference.md 10, from script:188-349, FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69
    expected = {}
    for i in range(6):
        expected[f"CNN_layers.{i}.0.conv.weight"] = (512, 512 if i else 4, 10, 1)
        expected[f"CNN_layers.{i}.0.conv.bias"] = (512,)
        for part in ("weight", "bias", "running_mean", "running_var"):
            expected[f"CNN_layers.{i}.1.{part}"] = (512,)
    for j, shape in enumerate([(256, 13_312), (256, 256), (1, 256)]):
        expected[f"linear_layers.{j}.0.weight"] = shape
        expected[f"linear_layers.{j}.0.bias"] = shape[:1]
    assert torch_import.shapes(build(recipe.load("original"))) == expected
    assert len(expected) + 6 == 48  # with num_batches_tracked


def test_names_and_shapes_are_those_of_mini():
    # reference.md 4.4 and 10, from base_camformer.py:44-65, gautammalik-git/Camformer@5c5eb0b
    state = torch_import.shapes(build(recipe.load("mini")))
    assert state["CNN_layers.0.0.weight"] == (384, 5, 5, 1)
    assert state["CNN_layers.5.0.weight"] == (192, 128, 4, 1)
    assert state["linear_layers.0.0.weight"] == (32, 14_592)
    assert state["linear_layers.1.0.weight"] == (1, 32)
    assert not [name for name in state if ".conv." in name]


def test_axes_are_in_the_order_of_keras(network):
    state = random_state(network)
    weights = torch_import.weights(state, network)
    kernel, bias = weights["conv_3"]
    torch_kernel = state["CNN_layers.2.0.conv.weight"]
    for k, c, f in [(0, 0, 0), (9, 0, 5), (4, 31, 2), (0, 7, 31)]:
        assert kernel[k, c, f] == torch_kernel[f, c, k, 0]
    np.testing.assert_array_equal(bias, state["CNN_layers.2.0.conv.bias"])
    for value, part in zip(
        weights["norm_3"], ["weight", "bias", "running_mean", "running_var"], strict=True
    ):
        np.testing.assert_array_equal(value, state[f"CNN_layers.2.1.{part}"])
    np.testing.assert_array_equal(weights["expression"][0], state["linear_layers.1.0.weight"].T)


def test_the_first_dense_layer_reads_positions_before_channels(network):
    state = random_state(network)
    kernel, _ = torch_import.weights(state, network)["dense_1"]
    torch_kernel = state["linear_layers.0.0.weight"]  # 32 channels of 26 positions
    for position, channel, unit in [(0, 0, 0), (25, 0, 3), (0, 31, 4), (13, 17, 31)]:
        assert kernel[position * 32 + channel, unit] == torch_kernel[unit, channel * 26 + position]


@pytest.mark.parametrize("settings", [RESIDUAL, PLAIN], ids=["residual", "plain"])
def test_every_weight_of_the_network_is_set(settings):
    model = build(settings)
    weights = torch_import.weights(random_state(model), model)
    assert set(weights) == {layer.name for layer in model.layers if layer.weights}
    for layer, values in weights.items():
        model.get_layer(layer).set_weights(values)  # refuses other shapes


def test_a_prefix_of_all_names_and_absent_counters_change_nothing(network):
    state = random_state(network)
    expected = torch_import.weights(state, network)
    state = {f"module.{n}": v for n, v in state.items() if "num_batches" not in n}
    for layer, values in torch_import.weights(state, network).items():
        for a, b in zip(values, expected[layer], strict=True):
            np.testing.assert_array_equal(a, b)


def test_all_differences_are_listed_at_once(network):
    state = random_state(network)
    del state["CNN_layers.1.0.conv.bias"], state["linear_layers.1.0.weight"]
    state["linear_layers.2.0.bias"] = np.zeros(4)
    state["CNN_layers.0.0.conv.weight"] = np.zeros((32, 4, 10, 1))
    with pytest.raises(errors.UserError) as error:
        torch_import.weights(state, network, source="a.pt")
    assert str(error.value).splitlines() == [
        "a.pt: is not the recipe's network (shapes as in PyTorch):",
        "  2 missing: CNN_layers.1.0.conv.bias (32,); linear_layers.1.0.weight (1, 32)",
        "  1 unexpected: linear_layers.2.0.bias (4,)",
        "  1 of another shape: CNN_layers.0.0.conv.weight is (32, 4, 10, 1), expected "
        "(32, 5, 10, 1)",
        "Choose the recipe that it was trained with, or adapt one with --set model.….",
    ]


def test_a_long_list_is_abridged(network):
    with pytest.raises(errors.UserError, match="28 missing: .*; and 22 more"):
        torch_import.weights({}, network)


@pytest.mark.parametrize(
    ("checkpoint", "expected", "message"),
    [
        (RESIDUAL, PLAIN, "those of a residual network .model.residual: true"),
        (PLAIN, RESIDUAL, "those of a plain network .model.residual: false"),
    ],
)
def test_the_other_layout_is_recognised(checkpoint, expected, message):
    with pytest.raises(errors.UserError, match=message):
        torch_import.weights(random_state(build(checkpoint)), build(expected))


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e39])
def test_a_weight_that_is_not_finite_is_refused(network, value):
    state = random_state(network)
    state["CNN_layers.1.1.running_var"] = state["CNN_layers.1.1.running_var"].astype(np.float64)
    state["CNN_layers.1.1.running_var"][3] = value
    with pytest.raises(errors.UserError, match="1 of 32 values of CNN_layers.1.1.running_var"):
        torch_import.weights(state, network)


# === Files without PyTorch ===


@pytest.fixture
def safetensors(network, tmp_path) -> Path:
    save_file = pytest.importorskip("safetensors.numpy").save_file
    save_file(random_state(network), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_safetensors_become_a_model_without_torch(network, safetensors, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it fails
    result = torch_import.import_torch(str(safetensors), "smoke", tmp_path / "m.keras", **CHANGES)
    file = keras_file.load(tmp_path / "m.keras")
    assert file.settings == RESIDUAL and not file.is_custom
    expected = torch_import.weights(random_state(network), network)
    for model in (result, file.network):
        for layer, values in expected.items():
            for a, b in zip(model.get_layer(layer).get_weights(), values, strict=True):
                np.testing.assert_array_equal(a, b)


def test_a_file_is_replaced_only_if_asked(safetensors, tmp_path):
    (tmp_path / "m.keras").write_text("mine")
    with pytest.raises(errors.UserError, match="exists already"):
        torch_import.import_torch(safetensors, "smoke", tmp_path / "m.keras", **CHANGES)
    assert (tmp_path / "m.keras").read_text() == "mine"
    torch_import.import_torch(safetensors, "smoke", tmp_path / "m.keras", **CHANGES, overwrite=True)
    assert keras_file.load(tmp_path / "m.keras").settings == RESIDUAL


@pytest.mark.parametrize(
    ("checkpoint", "out", "message"),
    [
        ("absent.pt", "m.keras", "absent.pt: no such file"),
        (".", "m.keras", "no such file"),
        ("text.safetensors", "m.keras", "text.safetensors: cannot be read as safetensors"),
        ("w.safetensors", "m.h5", "m.h5: expected a name that ends in .keras"),
        ("w.safetensors", "absent/m.keras", "the folder .*absent does not exist"),
    ],
)
def test_a_mistake_is_named_and_leaves_no_file(safetensors, tmp_path, checkpoint, out, message):
    (tmp_path / "text.safetensors").write_text("no tensors")
    with pytest.raises(errors.UserError, match=message):
        torch_import.import_torch(tmp_path / checkpoint, "smoke", tmp_path / out, **CHANGES)
    assert {path.name for path in tmp_path.iterdir()} == {"w.safetensors", "text.safetensors"}


# === Files of PyTorch ===


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def call(*arguments) -> click.testing.Result:
    runner = click.testing.CliRunner()
    return runner.invoke(cli.main, [str(a) for a in arguments], catch_exceptions=False)


@pytest.mark.torch
@pytest.mark.parametrize("settings", [RESIDUAL, PLAIN], ids=["residual", "plain"])
@pytest.mark.parametrize("wrapper", ["", "state_dict", "model_state_dict", "module."])
def test_a_checkpoint_predicts_as_pytorch_does(torch, settings, wrapper, tmp_path, monkeypatch):
    from support import torch_model

    monkeypatch.chdir(tmp_path)
    channels = sequence.channels(settings.data.encoding)
    network = torch_model.Camformer(settings.model, channels=channels)
    x = sequence.encode(SEQUENCES, settings.data.encoding)
    x = torch.tensor(x.transpose(0, 2, 1)[..., None])
    with torch.no_grad():
        network(x)  # statistics other than 0 and 1
        expected = network.eval()(x).numpy()
    module = torch.nn.DataParallel(network) if wrapper == "module." else network
    checkpoint = module.state_dict()
    if "state_dict" in wrapper:
        checkpoint = {"epoch": 3, wrapper: checkpoint, "optimizer_state_dict": {}}
    torch.save(checkpoint, "w.pth")
    Path("r.yaml").write_text(recipe.dump(settings))
    Path("in.txt").write_text("\n".join(SEQUENCES))

    result = call("import-torch", "w.pth", "r.yaml", "m.keras")
    assert result.exit_code == 0, result.output
    assert "m.keras: " in result.output and "parameters imported" in result.output
    assert call("predict", "m.keras", "in.txt", "p.tsv", "--quiet").exit_code == 0
    table = predictions.read(Path("p.tsv"))
    # float32 sums of up to 832 terms in another order; outputs are about 0.3
    np.testing.assert_allclose(table.prediction, expected, atol=2e-6)

    saved_model = tf.saved_model.load(str(export.export([Path("m.keras")], Path("e"))))
    answer = saved_model.signatures["serving_default"](sequence=tf.constant(SEQUENCES))
    np.testing.assert_allclose(answer["expression"], expected, atol=2e-6)


@pytest.mark.torch
def test_overrides_adapt_a_recipe_to_the_checkpoint(torch, tmp_path):
    from support import torch_model

    settings = recipe.load("smoke", ["model.dense=[8]"])
    torch.save(torch_model.Camformer(settings.model).state_dict(), tmp_path / "w.pt")
    words = ["import-torch", tmp_path / "w.pt", "smoke", tmp_path / "m.keras"]
    result = call(*words)
    assert result.exit_code == 1
    assert "linear_layers.0.0.weight is (8, 832), expected (32, 832)" in result.stderr
    assert call(*words, "--set", "model.dense=[8]").exit_code == 0

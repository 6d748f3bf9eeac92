"""Checkpoints of PyTorch: names, shapes and mapping without PyTorch, files with it."""

import os
import pickle
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

RESIDUAL = recipe.load("smoke", ["data.encoding=onehot_purine"])
PLAIN = recipe.parse(
    "model: {residual: false, padding: 5, dense: [6], blocks: [{filters: 4, kernel: 5, pool: "
    "{size: 7, stride: 2}}, {filters: 3, kernel: 4}]}",
    source="plain",
)
SEQUENCES = ["".join(row) for row in np.random.default_rng(3).choice(list("ACGTN"), (20, 110))]
SEQUENCES = [s.replace("N", "A", s.count("N") - 3) if s.count("N") > 3 else s for s in SEQUENCES]


def build(settings: recipe.Recipe) -> keras.Model:
    return rescnn.build(settings.model, channels=sequence.channels(settings.data.encoding))


def drawn(model: keras.Model, seed: int = 0) -> dict[str, np.ndarray]:
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


# === Names, shapes and mapping ===


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
    found = torch_import.shapes(build(recipe.load("mini")))
    assert found["CNN_layers.0.0.weight"] == (384, 5, 5, 1)
    assert found["CNN_layers.5.0.weight"] == (192, 128, 4, 1)
    assert found["linear_layers.0.0.weight"] == (32, 14_592)
    assert found["linear_layers.1.0.weight"] == (1, 32)
    assert not [name for name in found if ".conv." in name]


def test_every_axis_goes_where_keras_has_it(network):
    state = drawn(network)
    made = torch_import.weights(state, network)
    kernel, bias = made["conv_3"]
    theirs = state["CNN_layers.2.0.conv.weight"]
    for k, c, f in [(0, 0, 0), (9, 0, 5), (4, 31, 2), (0, 7, 31)]:
        assert kernel[k, c, f] == theirs[f, c, k, 0]
    np.testing.assert_array_equal(bias, state["CNN_layers.2.0.conv.bias"])
    for ours, part in zip(
        made["norm_3"], ["weight", "bias", "running_mean", "running_var"], strict=True
    ):
        np.testing.assert_array_equal(ours, state[f"CNN_layers.2.1.{part}"])
    np.testing.assert_array_equal(made["expression"][0], state["linear_layers.1.0.weight"].T)


def test_the_first_dense_layer_reads_positions_before_channels(network):
    state = drawn(network)
    kernel, _ = torch_import.weights(state, network)["dense_1"]
    theirs = state["linear_layers.0.0.weight"]  # 32 channels of 26 positions
    for position, channel, unit in [(0, 0, 0), (25, 0, 3), (0, 31, 4), (13, 17, 31)]:
        assert kernel[position * 32 + channel, unit] == theirs[unit, channel * 26 + position]


@pytest.mark.parametrize("settings", [RESIDUAL, PLAIN], ids=["residual", "plain"])
def test_every_weight_of_the_network_is_given(settings):
    model = build(settings)
    made = torch_import.weights(drawn(model), model)
    assert set(made) == {layer.name for layer in model.layers if layer.weights}
    for layer, values in made.items():
        model.get_layer(layer).set_weights(values)  # refuses other shapes


def test_a_prefix_of_all_names_and_absent_counters_change_nothing(network):
    state = drawn(network)
    expected = torch_import.weights(state, network)
    state = {f"module.{n}": v for n, v in state.items() if "num_batches" not in n}
    for layer, values in torch_import.weights(state, network).items():
        for a, b in zip(values, expected[layer], strict=True):
            np.testing.assert_array_equal(a, b)


def test_all_that_does_not_fit_is_said_at_once(network):
    state = drawn(network)
    del state["CNN_layers.1.0.conv.bias"], state["linear_layers.1.0.weight"]
    state["linear_layers.2.0.bias"] = np.zeros(4)
    state["CNN_layers.0.0.conv.weight"] = np.zeros((32, 4, 10, 1))
    with pytest.raises(errors.UserError) as caught:
        torch_import.weights(state, network, where="a.pt")
    assert str(caught.value).splitlines() == [
        "a.pt: is not the recipe's network (shapes as in PyTorch):",
        "  2 missing: CNN_layers.1.0.conv.bias (32,); linear_layers.1.0.weight (1, 32)",
        "  1 unexpected: linear_layers.2.0.bias (4,)",
        "  1 of another shape: CNN_layers.0.0.conv.weight is (32, 4, 10, 1), expected "
        "(32, 5, 10, 1)",
        "Choose the recipe that it was trained with, or fit one to it with --set model.….",
    ]


def test_a_long_list_is_cut(network):
    with pytest.raises(errors.UserError, match="28 missing: .*; and 22 more"):
        torch_import.weights({}, network)


@pytest.mark.parametrize(
    ("given", "asked", "message"),
    [
        (RESIDUAL, PLAIN, "those of a residual network .model.residual: true"),
        (PLAIN, RESIDUAL, "those of a plain network .model.residual: false"),
    ],
)
def test_the_other_layout_is_recognised(given, asked, message):
    with pytest.raises(errors.UserError, match=message):
        torch_import.weights(drawn(build(given)), build(asked))


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e39])
def test_a_weight_that_is_not_finite_is_refused(network, value):
    state = drawn(network)
    state["CNN_layers.1.1.running_var"] = state["CNN_layers.1.1.running_var"].astype(np.float64)
    state["CNN_layers.1.1.running_var"][3] = value
    with pytest.raises(errors.UserError, match="1 of 32 values of CNN_layers.1.1.running_var"):
        torch_import.weights(state, network)


# === Files without PyTorch ===


@pytest.fixture
def safe(network, tmp_path) -> Path:
    save_file = pytest.importorskip("safetensors.numpy").save_file
    save_file(drawn(network), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_safetensors_become_a_model_without_torch(network, safe, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it fails
    made = torch_import.convert(safe, RESIDUAL, tmp_path / "m.keras")
    saved = keras_file.load(tmp_path / "m.keras")
    again, settings = saved.network, saved.settings
    assert settings == RESIDUAL
    expected = torch_import.weights(drawn(network), network)
    for model in (made, again):
        for layer, values in expected.items():
            for a, b in zip(model.get_layer(layer).get_weights(), values, strict=True):
                np.testing.assert_array_equal(a, b)


def test_nothing_is_overwritten(safe, tmp_path):
    (tmp_path / "m.keras").write_text("mine")
    with pytest.raises(errors.UserError, match="exists already"):
        torch_import.convert(safe, RESIDUAL, tmp_path / "m.keras")
    assert (tmp_path / "m.keras").read_text() == "mine"


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
def test_a_mistake_is_named_and_leaves_no_file(safe, tmp_path, checkpoint, out, message):
    (tmp_path / "text.safetensors").write_text("no tensors")
    with pytest.raises(errors.UserError, match=message):
        torch_import.convert(tmp_path / checkpoint, RESIDUAL, tmp_path / out)
    assert {path.name for path in tmp_path.iterdir()} == {"w.safetensors", "text.safetensors"}


@pytest.mark.parametrize(("module", "name"), [("torch", "a.pt"), ("safetensors", "a.safetensors")])
def test_what_is_not_installed_is_said_with_the_command(tmp_path, monkeypatch, module, name):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, f"{module}.numpy", None)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(errors.UserError, match=f'pip install "?{module}'):
        torch_import.read(tmp_path / name)


# === Files of PyTorch ===


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


class Command:
    """Pickled, it asks to make the folder `ran` when it is opened."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


def call(*arguments) -> click.testing.Result:
    runner = click.testing.CliRunner()
    return runner.invoke(cli.main, [str(a) for a in arguments], catch_exceptions=False)


@pytest.mark.torch
@pytest.mark.parametrize("settings", [RESIDUAL, PLAIN], ids=["residual", "plain"])
@pytest.mark.parametrize("wrapped", ["", "state_dict", "model_state_dict", "module."])
def test_a_checkpoint_predicts_as_pytorch_does(torch, settings, wrapped, tmp_path, monkeypatch):
    from support import torch_model

    monkeypatch.chdir(tmp_path)
    channels = sequence.channels(settings.data.encoding)
    network = torch_model.Camformer(settings.model, channels=channels)
    x = sequence.encode(SEQUENCES, settings.data.encoding)
    x = torch.tensor(x.transpose(0, 2, 1)[..., None])
    with torch.no_grad():
        network(x)  # statistics other than 0 and 1
        expected = network.eval()(x).numpy()
    saved = torch.nn.DataParallel(network) if wrapped == "module." else network
    saved = saved.state_dict()
    if "state_dict" in wrapped:
        saved = {"epoch": 3, wrapped: saved, "optimizer_state_dict": {}}
    torch.save(saved, "w.pth")
    Path("r.yaml").write_text(recipe.dump(settings))
    Path("in.txt").write_text("\n".join(SEQUENCES))

    done = call("import-torch", "w.pth", "r.yaml", "m.keras")
    assert done.exit_code == 0, done.output
    assert "m.keras: " in done.output and "parameters imported" in done.output
    assert call("predict", "m.keras", "in.txt", "p.tsv", "--quiet").exit_code == 0
    table = predictions.read(Path("p.tsv"))
    # float32 sums of up to 832 terms in another order; outputs are about 0.3
    np.testing.assert_allclose(table.prediction, expected, atol=2e-6)

    served = tf.saved_model.load(str(export.export([Path("m.keras")], Path("e"))))
    answer = served.signatures["serving_default"](sequence=tf.constant(SEQUENCES))
    np.testing.assert_allclose(answer["expression"], expected, atol=2e-6)


@pytest.mark.torch
def test_a_recipe_is_fitted_to_the_checkpoint_by_overrides(torch, tmp_path):
    from support import torch_model

    settings = recipe.load("smoke", ["model.dense=[8]"])
    torch.save(torch_model.Camformer(settings.model).state_dict(), tmp_path / "w.pt")
    words = ["import-torch", tmp_path / "w.pt", "smoke", tmp_path / "m.keras"]
    refused = call(*words)
    assert refused.exit_code == 1
    assert "linear_layers.0.0.weight is (8, 832), expected (32, 832)" in refused.stderr
    assert call(*words, "--set", "model.dense=[8]").exit_code == 0


@pytest.mark.torch
@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_module_is_refused_with_what_to_do(torch, tmp_path, zipped):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt",
               _use_new_zipfile_serialization=zipped)  # fmt: skip
    with pytest.raises(errors.UserError, match="torch.nn.modules.linear.Linear") as caught:
        torch_import.read(tmp_path / "model.pt")
    assert 'torch.load("model.pt", map_location="cpu", weights_only=False)' in str(caught.value)
    assert 'torch.save(model.state_dict(), "state_dict.pt")' in str(caught.value)


@pytest.mark.torch
@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_code_in_a_file_is_not_run(torch, tmp_path, monkeypatch, writer):
    monkeypatch.chdir(tmp_path)
    if writer == "torch":
        torch.save({"CNN_layers.0.0.weight": Command()}, "evil.pt")
    else:
        Path("evil.pt").write_bytes(pickle.dumps(Command(), protocol=2))
    with pytest.raises(errors.UserError, match="evil.pt: is"):
        torch_import.read(Path("evil.pt"))
    assert not Path("ran").exists()
    pickle.loads(pickle.dumps(Command()))
    assert Path("ran").exists()  # it would have


@pytest.mark.torch
def test_a_torch_that_may_run_code_is_refused(torch, tmp_path, monkeypatch):
    torch.save({}, tmp_path / "w.pt")
    monkeypatch.setattr(torch, "__version__", type(torch.__version__)("2.5.1+cpu"))
    with pytest.raises(errors.UserError, match="PyTorch 2.5.1.*CVE-2025-32434"):
        torch_import.read(tmp_path / "w.pt")


@pytest.mark.torch
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds one list"),
        ({"epoch": 3}, "its entry 'epoch' is no tensor but int"),
        ({"state_dict": {3: None}}, "its entry 3 is no tensor but NoneType"),
    ],
)
def test_what_is_no_state_dict_is_refused(torch, tmp_path, content, message):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(errors.UserError, match=message):
        torch_import.read(tmp_path / "w.pt")


@pytest.mark.torch
def test_a_damaged_file_is_refused(torch, tmp_path):
    torch.save({"a": torch.zeros(100)}, tmp_path / "w.pt")
    whole = (tmp_path / "w.pt").read_bytes()
    for content in (b"", b"hello\n", whole[:-40], whole[: len(whole) // 2], b"PK" + whole[:50]):
        (tmp_path / "w.pt").write_bytes(content)
        with pytest.raises(errors.UserError, match="w.pt: is damaged or no file of torch.save"):
            torch_import.read(tmp_path / "w.pt")

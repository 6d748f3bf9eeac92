import json
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import camformer_tf as cf
from camformer_tf import errors, exportdir, recipe
from camformer_tf.client import predict
from camformer_tf.data import sequence
from camformer_tf.export import export, formats
from camformer_tf.model import inference, keras_file, rescnn

PACKAGES = {"onnx": ("tf2onnx", "onnxruntime"), "litert": ("ai_edge_litert",)}
PROGRAMS = Path(__file__).parents[1] / "support" / "programs"


@pytest.fixture(params=PACKAGES)
def kind(request) -> str:
    for name in PACKAGES[request.param]:
        pytest.importorskip(name, reason=f"{name} is not installed")
    return request.param


def run(kind: str, path):
    """Returns the model in its runtime, as its user calls it."""
    if kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        names = [output.name for output in session.get_outputs()]
        return lambda onehot: dict(zip(names, session.run(None, {"onehot": onehot}), strict=True))
    from ai_edge_litert import interpreter

    runner = interpreter.Interpreter(str(path)).get_signature_runner("serving_default")
    return lambda onehot: runner(onehot=onehot)


def test_a_calibrated_ensemble_gives_the_answers_of_its_members(
    kind, replicates, promoters, tmp_path
):
    folder = export.export([replicates], tmp_path / "e", format=kind)
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == {formats.FILES[kind], exportdir.MODEL_CARD, exportdir.GOLDEN}
    model = run(kind, folder / formats.FILES[kind])
    onehot = sequence.encode(promoters)
    answer = model(onehot)
    golden = json.loads((folder / exportdir.GOLDEN).read_text())
    assert set(answer) == set(golden["answers"]) - {"valid", "reason"}

    (tmp_path / "in.txt").write_text("\n".join(promoters))
    predict.predict(replicates, tmp_path / "in.txt", tmp_path / "out.tsv")
    header, *rows = (line.split("\t") for line in (tmp_path / "out.tsv").read_text().splitlines())
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    columns["expression"] = columns["prediction"]
    for name, values in answer.items():
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, np.float32(columns[name]), atol=1e-5)
    for name, values in model(onehot[:1]).items():  # any number of sequences
        np.testing.assert_allclose(values, answer[name][:1], atol=1e-5)


def test_flanks_padding_and_channels_are_converted_too(kind, promoters, tmp_path):
    settings = recipe.load(
        "smoke",
        ["tricks.flanks.cut_left=3", "tricks.flanks.add_left=ACGTN", "model.padding=5",
         "model.residual=false", "data.encoding=onehot_integer_purine"],
    )  # fmt: skip
    path = tmp_path / "m.keras"
    keras_file.save(rescnn.from_recipe(settings), path, settings)
    folder = export.export([path], tmp_path / "e", format=kind)
    onehot = sequence.encode(promoters, "onehot_integer_purine")
    answer = run(kind, folder / formats.FILES[kind])(onehot)["expression"]
    expected = inference.load(path).predict_letters(sequence.letters(promoters))
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_an_export_whose_runtime_answers_wrongly_is_refused(
    kind, keras_path, tmp_path, monkeypatch
):
    write = formats.write
    monkeypatch.setattr(
        formats,
        "write",
        lambda *inputs: lambda onehot: {"expression": write(*inputs)(onehot)["expression"] + 1e-3},
    )
    with pytest.raises(errors.UserError, match="The export differs in 28 of 33"):
        export.export([keras_path], tmp_path / "e", format=kind)
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize("kind", PACKAGES)
def test_without_the_extra_the_message_says_what_to_install(
    keras_path, tmp_path, monkeypatch, kind
):
    monkeypatch.setitem(sys.modules, PACKAGES[kind][-1], None)
    with pytest.raises(errors.UserError, match=rf"pip install \"camformer-tf\[{kind}\]\""):
        export.export([keras_path], tmp_path / "e", format=kind)
    assert not (tmp_path / "e").exists()


@pytest.mark.slow
def test_onnx_runtime_gives_the_golden_answers_of_a_converted_savedmodel(replicates, tmp_path):
    for name in PACKAGES["onnx"]:
        pytest.importorskip(name, reason=f"{name} is not installed")
    folder = export.export([replicates], tmp_path / "e")
    subprocess.run(
        [sys.executable, "-m", "tf2onnx.convert", "--saved-model", str(folder), "--tag", "serve",
         "--signature_def", "onehot", "--opset", "17", "--output", str(tmp_path / "m.onnx")],
        check=True, capture_output=True, timeout=240,
    )  # fmt: skip
    golden = json.loads((folder / exportdir.GOLDEN).read_text())
    plain = [i for i, s in enumerate(golden["sequences"]) if re.fullmatch("[ACGT]{110}", s)]
    onehot = sequence.encode([golden["sequences"][i] for i in plain])
    answer = run("onnx", tmp_path / "m.onnx")(onehot)
    assert len(plain) >= 15 and set(answer) == {"expression", "spread", "lower", "upper"}
    for name, values in answer.items():
        expected = np.array(golden["answers"][name], float)[plain]
        np.testing.assert_allclose(values, expected, rtol=0, atol=golden["tolerance"][name])


# === Keras ===


def test_a_keras_file_loads_without_the_package_and_gives_the_golden_predictions(
    keras_path, tmp_path
):
    folder = export.export(keras_path, tmp_path / "e", format="keras")
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == {"model.keras", exportdir.MODEL_CARD, exportdir.GOLDEN}
    golden = json.loads((folder / exportdir.GOLDEN).read_text())
    plain = [i for i, s in enumerate(golden["sequences"]) if re.fullmatch("[ACGT]{110}", s)]
    np.save(tmp_path / "onehot.npy", sequence.encode([golden["sequences"][i] for i in plain]))
    process = subprocess.run(
        [sys.executable, PROGRAMS / "plain_keras.py", folder / "model.keras", "onehot.npy"],
        capture_output=True, text=True, timeout=120, check=True, cwd=tmp_path,
    )  # fmt: skip
    expected = np.array(golden["answers"]["expression"], float)[plain]
    np.testing.assert_allclose(json.loads(process.stdout), expected, rtol=0, atol=1e-5)


def test_a_keras_file_of_an_export_is_a_model_of_the_package(keras_path, promoters, tmp_path):
    folder = export.export(keras_path, tmp_path / "e", format="keras")
    letters = sequence.letters(promoters)
    values = cf.load(folder / "model.keras").predict_letters(letters)
    np.testing.assert_allclose(values, cf.load(keras_path).predict_letters(letters), atol=1e-5)


def test_flanks_are_stock_layers_too(promoters, tmp_path):
    settings = recipe.load("smoke", ["tricks.flanks.cut_left=3", "tricks.flanks.add_left=ACGTN"])
    keras_file.save(rescnn.from_recipe(settings), tmp_path / "m.keras", settings)
    folder = export.export(tmp_path / "m.keras", tmp_path / "e", format="keras")
    network = keras.models.load_model(folder / "model.keras", compile=False)
    kinds = {type(layer).__module__.partition(".")[0] for layer in network.layers}
    assert kinds == {"keras"}


def test_a_keras_file_holds_one_network_and_no_calibration(replicates, tmp_path):
    with pytest.raises(errors.UserError, match="holds one network, found 3 models"):
        export.export(replicates, tmp_path / "e", format="keras")
    with pytest.raises(errors.UserError, match="neither scale nor intervals"):
        export.export("run", tmp_path / "e", format="keras", calibration="calibration.json")
    assert not (tmp_path / "e").exists()


def test_an_unknown_format_is_refused(keras_path, tmp_path):
    with pytest.raises(errors.UserError, match="expected one of savedmodel, keras, onnx, litert"):
        export.export(keras_path, tmp_path / "e", format="pickle")

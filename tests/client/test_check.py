"""Golden predictions against servers that serve the export, and others."""

import json
import shutil

import pytest

from camformer_tf import errors, exportdir, recipe
from camformer_tf.client import check
from camformer_tf.export import export
from camformer_tf.model import keras_file, rescnn
from camformer_tf.server import server


@pytest.fixture(scope="module")
def exports(replicates, tmp_path_factory):
    """An export, and the same with other weights."""
    folder = tmp_path_factory.mktemp("golden")
    export.export([replicates], folder / "ours")
    settings = recipe.load("smoke")
    keras_file.save(rescnn.build(settings.model, seed=9), folder / "m.keras", settings)
    export.export([folder / "m.keras"], folder / "other")
    return folder


@pytest.fixture(scope="module")
def urls(exports):
    with server.serve(exports / "ours", port=0, grpc_port=0) as running:
        yield {"http": running.url, "grpc": f"grpc://{running.grpc}"}


@pytest.mark.parametrize("way", ["http", "grpc"])
def test_the_server_of_an_export_answers_its_golden_predictions(urls, exports, way):
    found = check.check(urls[way], exports / "ours")
    assert found.version == 1 and found.sequences > 25
    asked = {what.split(", ")[1] for what in found.differences}
    assert asked == {"all at once", "one by one", "by the Regress API"}
    assert {what.split(", ")[0] for what in found.differences} == {
        "expression", "spread", "lower", "upper", "valid", "reason"
    }  # fmt: skip
    assert "version 1 answers" in found.summary()


@pytest.mark.parametrize("way", ["http", "grpc"])
def test_a_server_of_other_weights_does_not(urls, exports, way):
    with pytest.raises(errors.UserError, match=r"expression of golden sequence \d+ is"):
        check.check(urls[way], exports / "other")


@pytest.mark.parametrize("name", ["expression", "valid", "reason", "upper"])
def test_one_wrong_value_is_found(urls, exports, tmp_path, name):
    folder = tmp_path / "1"
    shutil.copytree(exports / "ours" / "1", folder)
    golden = json.loads((folder / exportdir.GOLDEN).read_text())
    values = golden["answers"][name]
    values[3] = not values[3] if name == "valid" else values[3] + 1e-3 + (name == "reason")
    (folder / exportdir.GOLDEN).write_text(json.dumps(golden))
    with pytest.raises(errors.UserError, match=f"{name} of golden sequence 3 is"):
        check.check(urls["http"], folder)


def test_another_version_and_an_export_without_golden_predictions_are_refused(
    urls, exports, tmp_path
):
    shutil.copytree(exports / "ours" / "1", tmp_path / "2")
    with pytest.raises(errors.UserError, match="serves version 1, .*2 is version 2"):
        check.check(urls["http"], tmp_path)
    (tmp_path / "2" / exportdir.GOLDEN).unlink()
    with pytest.raises(errors.UserError, match="not an export: there is no .*golden.json in it"):
        check.check(urls["http"], tmp_path)

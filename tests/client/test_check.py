"""Golden predictions against servers that serve the export, and others."""

import json
import shutil

import pytest
from click import testing

import camformer_tf as cf
from camformer_tf import cli, errors, exportdir, recipe
from camformer_tf.model import keras_file, rescnn

SCHEMES = ("http", "grpc")


@pytest.fixture(scope="module")
def other_export(tmp_path_factory):
    """An export with other weights."""
    folder = tmp_path_factory.mktemp("other")
    settings = recipe.load("smoke")
    keras_file.save(rescnn.build(settings.model, seed=9), folder / "m.keras", settings)
    cf.export(folder / "m.keras", folder / "exports")
    return folder / "exports"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_server_of_an_export_gives_its_golden_predictions(urls, export_dir, scheme):
    result = cf.serve_check(urls[scheme], str(export_dir))
    assert result.version == 1 and result.sequences > 25
    keys = [key.split(", ") for key in result.differences]
    assert {question for _, question in keys} == {"all at once", "one by one", "by the Regress API"}
    assert {name for name, _ in keys} == {
        "expression", "spread", "lower", "upper", "valid", "reason"
    }  # fmt: skip
    assert "version 1 answers" in result.summary()
    assert repr(result).startswith(f"<ServeCheck {urls[scheme]}/v1/models/camformer: version 1 ")
    assert "largest difference" in repr(result)


def test_the_command_prints_the_differences_and_fails_if_they_are_too_large(
    urls, export_dir, other_export
):
    def run(folder):
        return testing.CliRunner().invoke(cli.main, ["serve-check", urls["http"], str(folder)])

    result = run(export_dir)
    assert result.exit_code == 0 and "expression, one by one" in result.stdout
    result = run(other_export)
    assert result.exit_code == 1 and "of golden sequence" in result.stderr


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_server_of_other_weights_is_an_error(urls, other_export, scheme):
    with pytest.raises(errors.UserError, match=r"expression of golden sequence \d+ is"):
        cf.serve_check(urls[scheme], other_export)


@pytest.mark.parametrize("name", ["expression", "valid", "reason", "upper"])
def test_one_wrong_value_is_an_error(urls, export_dir, tmp_path, name):
    folder = tmp_path / "1"
    shutil.copytree(export_dir / "1", folder)
    golden = json.loads((folder / exportdir.GOLDEN).read_text())
    values = golden["answers"][name]
    values[3] = not values[3] if name == "valid" else values[3] + 1e-3 + (name == "reason")
    (folder / exportdir.GOLDEN).write_text(json.dumps(golden))
    with pytest.raises(errors.UserError, match=f"{name} of golden sequence 3 is"):
        cf.serve_check(urls["http"], folder)


def test_another_version_and_an_export_without_golden_predictions_are_refused(
    urls, export_dir, tmp_path
):
    shutil.copytree(export_dir / "1", tmp_path / "2")
    with pytest.raises(errors.UserError, match="serves version 1, .*2 is version 2"):
        cf.serve_check(urls["http"], tmp_path)
    (tmp_path / "2" / exportdir.GOLDEN).unlink()
    with pytest.raises(errors.UserError, match=r"not an export: there is no .*golden\.json in it"):
        cf.serve_check(urls["http"], tmp_path)

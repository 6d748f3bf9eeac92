import numpy as np
import pytest

import camformer_tf as cf
from camformer_tf import errors, rundir
from camformer_tf.data import sequence

SCHEMES = ("http", "grpc")


def test_paths_are_loaded_as_one_model(keras_path, replicates, export_dir, promoters):
    model = cf.load(str(keras_path))
    assert isinstance(model, cf.Model) and str(keras_path) in repr(model)
    assert len(cf.load([keras_path, keras_path]).members) == 2
    assert len(cf.load(replicates).members) == 3
    table, expected = (cf.load(path).predict(promoters) for path in (export_dir, replicates))
    assert list(table) == ["sequence", "prediction", "spread", "lower", "upper", "reason"]
    np.testing.assert_allclose(table["prediction"], expected["prediction"], atol=3e-5)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_server_predicts_as_its_export(urls, export_dir, promoters, scheme):
    model, local = cf.load(urls[scheme], batch_size=7), cf.load(export_dir)
    sequences = [*promoters, "ACGT", promoters[0].lower()[:108]]
    table, expected = model.predict(sequences), local.predict(sequences)
    assert list(table) == list(expected)
    for name in ("prediction", "spread", "lower", "upper"):
        np.testing.assert_allclose(table[name], expected[name], atol=3e-5)
    assert (table["reason"].isna() == expected["reason"].isna()).all()
    letters = sequence.letters(promoters)
    by_letters = model.predict_letters(letters)
    assert by_letters.dtype == np.float32
    np.testing.assert_allclose(by_letters, expected["prediction"][:20], atol=3e-5)
    with pytest.raises(errors.UserError, match="reads 110 letters"):
        model.predict_letters(letters[:, :109])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_repr_of_a_server_has_its_url_and_version(urls, scheme):
    text = repr(cf.load(urls[scheme]))
    assert text.startswith(f"<Model {urls[scheme]}/v1/models/camformer/versions/1: ")
    assert "length 110" in text and "calibrated" not in text  # what the server does not tell


def test_a_server_and_a_run_predict_together(urls, keras_path, promoters):
    model = cf.load([urls["http"], keras_path])
    members = [
        cf.load(entry).predict(promoters)["prediction"] for entry in (urls["http"], keras_path)
    ]
    np.testing.assert_allclose(
        model.predict(promoters)["prediction"], np.mean(members, axis=0), atol=3e-5
    )


def test_a_server_takes_neither_a_calibration_nor_a_precision(urls, replicates):
    with pytest.raises(errors.UserError, match="cannot be used with a server"):
        cf.load(urls["http"], calibration=replicates / rundir.CALIBRATION)
    with pytest.raises(errors.UserError, match="predicts in float32, found precision mixed"):
        cf.load(urls["http"], precision="mixed_bfloat16")


def test_a_path_where_there_is_no_model_is_an_error(tmp_path):
    with pytest.raises(errors.UserError, match="absent: no such file or directory"):
        cf.load(tmp_path / "absent")
    (tmp_path / "folder").mkdir()
    with pytest.raises(errors.UserError, match=r"folder: there is no best\.keras in it"):
        cf.load(tmp_path / "folder")
    (tmp_path / "notes.txt").write_text("no model\n")
    with pytest.raises(errors.UserError, match="notes.txt: "):
        cf.load(tmp_path / "notes.txt")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_url_that_nobody_answers_is_an_error(scheme):
    url = f"{scheme}://127.0.0.1:1"
    with pytest.raises(errors.UserError, match=f"{url}.*no server answers.*Is it running"):
        cf.load(url, timeout=5)


def test_another_url_is_an_error():
    with pytest.raises(errors.UserError, match="expected the URL of a server"):
        cf.load("ftp://127.0.0.1")

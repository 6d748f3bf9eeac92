import shutil
from pathlib import Path

import numpy as np
import pytest

from camformer_tf import exportdir
from camformer_tf.client import check
from camformer_tf.data import sequence
from camformer_tf.export import export
from camformer_tf.model import inference
from camformer_tf.server import server

# Names that are not versions. Unicode has digits that str.isdigit accepts and int refuses ("²"),
# and others that int reads as a number ("٣"). Git and editors leave files and folders too.
OTHER_NAMES = ["²", "٣", "01", "-1", "+1", "1.0", "1_0", " 1", "1 ", "v1", ".git", "latest"]


def add_version(export_dir: Path, name: str) -> Path:
    (export_dir / name).mkdir(parents=True)
    (export_dir / name / exportdir.SAVED_MODEL).touch()
    return export_dir / name


def test_versions_are_folders_with_a_number_in_ascending_order(tmp_path):
    for name in ("10", "2", "0"):
        add_version(tmp_path, name)
    assert list(exportdir.versions(tmp_path).items()) == [
        (0, tmp_path / "0"),
        (2, tmp_path / "2"),
        (10, tmp_path / "10"),
    ]


def test_a_version_may_be_empty(tmp_path):
    (tmp_path / "1").mkdir()
    assert exportdir.newest(tmp_path) == tmp_path / "1"


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_a_folder_with_another_name_is_not_a_version(tmp_path, name):
    add_version(tmp_path, name)
    assert exportdir.versions(tmp_path) == {} and exportdir.newest(tmp_path) is None
    add_version(tmp_path, "1")
    assert exportdir.versions(tmp_path) == {1: tmp_path / "1"}


def test_a_file_is_not_a_version(tmp_path):
    (tmp_path / "7").touch()
    assert exportdir.versions(tmp_path) == {} and exportdir.newest(tmp_path) is None


def test_the_newest_version_has_the_largest_number(tmp_path):
    for name in ("2", "10", "9", "²"):
        add_version(tmp_path, name)
    assert exportdir.newest(tmp_path) == tmp_path / "10"


@pytest.mark.parametrize("name", [exportdir.SAVED_MODEL, exportdir.MODEL_CARD])
def test_the_folder_of_a_version_is_its_own_newest(tmp_path, name):
    path = tmp_path / "3" / name
    path.parent.mkdir(parents=True)
    path.touch()
    assert exportdir.newest(tmp_path / "3") == tmp_path / "3"


def test_what_is_not_a_folder_has_no_newest_version(tmp_path):
    (tmp_path / "file").touch()
    assert exportdir.newest(tmp_path / "file") is None
    assert exportdir.newest(tmp_path / "nowhere") is None
    with pytest.raises(OSError):
        exportdir.versions(tmp_path / "nowhere")


# --- the rooms that read versions ---


@pytest.fixture(scope="module")
def export_dir(keras_path, tmp_path_factory) -> Path:
    """Returns an export of version 2, beside folders that are not versions."""
    folder = tmp_path_factory.mktemp("export") / "exports"
    export.export([keras_path], folder, version=2)
    for name in ("²", "01", "9x"):
        add_version(folder, name)
    (folder / "7").touch()
    return folder


def test_predict_reads_the_newest_version(export_dir, keras_path, promoters):
    letters = sequence.letters(promoters)
    prediction = inference.load(export_dir).predict_letters(letters)
    expected = inference.load(keras_path).predict_letters(letters)
    np.testing.assert_allclose(prediction, expected, atol=1e-5)


def test_the_server_and_its_check_use_the_newest_version(export_dir):
    with server.serve(export_dir, port=0) as running:
        assert check.serve_check(running.url, export_dir).version == 2


def test_the_next_export_has_the_next_version(export_dir, keras_path, tmp_path):
    shutil.copytree(export_dir, tmp_path / "exports")
    assert export.export([keras_path], tmp_path / "exports").name == "3"  # 7 is a file

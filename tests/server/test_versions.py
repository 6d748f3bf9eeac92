import shutil
import weakref

import pytest
from support import toy_export

from camformer_tf import errors
from camformer_tf.server import models, refusal, versions


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "exports"


def write(folder, name, content="good"):
    (folder / str(name)).mkdir(parents=True)
    (folder / str(name) / "saved_model.pb").write_text(content)


def load(path):
    """Loads a folder whose content is "good"."""
    text = (path / "saved_model.pb").read_text()
    if text != "good":
        raise OSError(f"cannot parse {text}")
    return models.Version(int(path.name), {}, None)


def poll(folder, **labels):
    """Returns the versions of a folder after the first poll."""
    model_versions = versions.Versions(folder, "m", labels, load)
    model_versions.poll()
    return model_versions


def state(model_versions, number):
    return model_versions.statuses("m", number)[number].state


def test_the_newest_version_is_served(folder):
    for number in (1, 2, 10):
        write(folder, number)
    write(folder, "x3")
    model_versions = poll(folder)
    assert model_versions.find("m").number == model_versions.newest == 10
    with pytest.raises(refusal.Refusal, match=r"Specific\(m, 2\)"):
        model_versions.find("m", 2)


@pytest.mark.parametrize("name", ["²", "01", "٣", "-4", "+5", "6.0", " 7"])
def test_a_folder_that_is_not_named_by_a_number_is_ignored(folder, name):
    write(folder, 1)
    write(folder, name)
    model_versions = poll(folder)
    assert set(model_versions.statuses("m")) == {1}
    model_versions.require_available()


def test_a_newer_version_replaces_the_old_one_which_is_unloaded(folder):
    write(folder, 1)
    model_versions = poll(folder)
    old = weakref.ref(model_versions.find("m"))
    write(folder, 2)
    model_versions.poll()
    assert model_versions.find("m").number == 2
    assert (state(model_versions, 1), state(model_versions, 2)) == ("END", "AVAILABLE")
    assert old() is None


def test_a_request_keeps_the_version_that_it_has(folder):
    write(folder, 1)
    model_versions = poll(folder)
    old = model_versions.find("m")
    write(folder, 2)
    model_versions.poll()
    assert old.number == 1


def test_a_label_keeps_its_version_loaded(folder):
    write(folder, 1)
    write(folder, 2)
    model_versions = poll(folder, stable=1)
    write(folder, 3)
    model_versions.poll()
    assert (
        model_versions.find("m", label="stable").number == 1
        and model_versions.find("m").number == 3
    )
    with pytest.raises(refusal.Refusal, match="Specific"):
        model_versions.find("m", 2)
    with pytest.raises(refusal.Refusal, match="Unrecognized servable version label: new"):
        model_versions.find("m", label="new")


def test_a_broken_version_is_reported_and_the_old_one_stays(folder):
    write(folder, 1)
    model_versions = poll(folder)
    write(folder, 2, "broken")
    model_versions.poll()
    assert model_versions.find("m").number == 1
    status = model_versions.statuses("m")[2]
    assert status.state == "END" and status.code != "OK" and status.message == "cannot parse broken"


def test_a_broken_version_is_tried_again_only_when_its_files_change(folder):
    write(folder, 1)
    write(folder, 2, "half")
    attempts, outcomes = [], []

    def load_and_count(path):
        attempts.append(path.name)
        return load(path)

    model_versions = versions.Versions(folder, "m", {}, load_and_count, outcomes.append)
    for _ in range(3):
        model_versions.poll()
    assert attempts == ["2", "1"] and outcomes == [False, True]
    (folder / "2" / "saved_model.pb").write_text("good")
    model_versions.poll()
    assert attempts == ["2", "1", "2"] and model_versions.find("m").number == 2
    assert outcomes == [False, True, True]


def test_a_version_that_disappears_is_unloaded_only_if_another_is_left(folder):
    write(folder, 1)
    write(folder, 2)
    model_versions = poll(folder)
    shutil.rmtree(folder / "2")
    model_versions.poll()
    assert model_versions.find("m").number == 1 and state(model_versions, 2) == "END"
    shutil.rmtree(folder)
    model_versions.poll()
    assert model_versions.find("m").number == 1


def test_statuses_are_those_of_the_model_newest_first(folder):
    write(folder, 1)
    write(folder, 2)
    model_versions = poll(folder, stable=1)
    assert list(model_versions.statuses("m")) == [2, 1]
    with pytest.raises(refusal.Refusal, match="any versions of model x"):
        model_versions.statuses("x")
    with pytest.raises(refusal.Refusal, match="version 3 of model m"):
        model_versions.statuses("m", 3)


def test_the_message_says_why_nothing_loads(folder):
    folder.mkdir()
    with pytest.raises(errors.UserError, match="it contains no version"):
        poll(folder).require_available()
    write(folder, 1, "broken")
    with pytest.raises(errors.UserError, match="version 1: cannot parse broken"):
        poll(folder).require_available()
    write(folder, 2)
    with pytest.raises(errors.UserError, match="--label stable=1: there is no such version"):
        poll(folder, stable=1).require_available()
    poll(folder).require_available()


def test_a_damaged_savedmodel_is_broken(folder):
    toy_export.write(folder, 1)
    (folder / "1" / "variables" / "variables.index").unlink()
    shutil.copytree(folder / "1", folder / "2")
    (folder / "2" / "saved_model.pb").write_bytes(b"\xff\xff")
    model_versions = versions.Versions(folder, "m", {}, lambda path: models.load(path, (1,)))
    model_versions.poll()
    statuses = model_versions.statuses("m")
    assert [statuses[number].state for number in (1, 2)] == ["END"] * 2
    assert all(statuses[number].message for number in (1, 2))

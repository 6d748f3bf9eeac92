import shutil
import weakref

import pytest
from support import toy_export

from camformer_tf import errors
from camformer_tf.server import models, refusal, versions


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "exports"


def make(folder, number, content="good"):
    (folder / str(number)).mkdir(parents=True)
    (folder / str(number) / "saved_model.pb").write_text(content)


def load(path):
    """Loads what says that it is good."""
    text = (path / "saved_model.pb").read_text()
    if text != "good":
        raise OSError(f"cannot parse {text}")
    return models.Version(int(path.name), {}, None)


def watched(folder, **labels):
    found = versions.Versions(folder, "m", labels, load)
    found.poll()
    return found


def state(found, number):
    return found.states("m", number)[number].state


def test_the_newest_version_is_served(folder):
    for number in (1, 2, 10):
        make(folder, number)
    make(folder, "x3")
    found = watched(folder)
    assert found.find("m").number == found.newest == 10
    with pytest.raises(refusal.Refused, match=r"Specific\(m, 2\)"):
        found.find("m", 2)


def test_a_newer_version_takes_over_and_the_old_one_is_let_go(folder):
    make(folder, 1)
    found = watched(folder)
    old = weakref.ref(found.find("m"))
    make(folder, 2)
    found.poll()
    assert found.find("m").number == 2
    assert (state(found, 1), state(found, 2)) == ("END", "AVAILABLE")
    assert old() is None


def test_who_has_the_old_version_keeps_it(folder):
    make(folder, 1)
    found = watched(folder)
    held = found.find("m")
    make(folder, 2)
    found.poll()
    assert held.number == 1


def test_a_label_keeps_its_version(folder):
    make(folder, 1)
    make(folder, 2)
    found = watched(folder, stable=1)
    make(folder, 3)
    found.poll()
    assert found.find("m", label="stable").number == 1 and found.find("m").number == 3
    with pytest.raises(refusal.Refused, match="Specific"):
        found.find("m", 2)


def test_a_broken_version_is_reported_and_the_old_one_stays(folder):
    make(folder, 1)
    found = watched(folder)
    make(folder, 2, "broken")
    found.poll()
    assert found.find("m").number == 1
    status = found.states("m")[2]
    assert status.state == "END" and status.code != "OK" and status.message == "cannot parse broken"


def test_a_broken_version_is_tried_again_when_it_has_changed_and_not_before(folder):
    make(folder, 1)
    make(folder, 2, "half")
    tried = []

    def counted(path):
        tried.append(path.name)
        return load(path)

    found = versions.Versions(folder, "m", {}, counted)
    for _ in range(3):
        found.poll()
    assert tried == ["2", "1"]
    (folder / "2" / "saved_model.pb").write_text("good")
    found.poll()
    assert tried == ["2", "1", "2"] and found.find("m").number == 2


def test_a_version_that_disappears_is_unloaded_only_if_another_is_there(folder):
    make(folder, 1)
    make(folder, 2)
    found = watched(folder)
    shutil.rmtree(folder / "2")
    found.poll()
    assert found.find("m").number == 1 and state(found, 2) == "END"
    shutil.rmtree(folder)
    found.poll()
    assert found.find("m").number == 1


def test_where_nothing_loads_it_says_why(folder):
    folder.mkdir()
    with pytest.raises(errors.UserError, match="no folder of a version in it"):
        watched(folder).refuse_missing()
    make(folder, 1, "broken")
    with pytest.raises(errors.UserError, match="version 1: cannot parse broken"):
        watched(folder).refuse_missing()
    make(folder, 2)
    with pytest.raises(errors.UserError, match="--label stable=1"):
        watched(folder, stable=1).refuse_missing()
    watched(folder).refuse_missing()


def test_a_damaged_savedmodel_is_broken(folder):
    toy_export.write(folder, 1)
    (folder / "1" / "variables" / "variables.index").unlink()
    shutil.copytree(folder / "1", folder / "2")
    (folder / "2" / "saved_model.pb").write_bytes(b"\xff\xff")
    found = versions.Versions(folder, "m", {}, lambda path: models.load(path, (1,)))
    found.poll()
    states = found.states("m")
    assert [states[number].state for number in (1, 2)] == ["END"] * 2
    assert all(states[number].message for number in (1, 2))

import json

import pytest

from camformer_tf import errors, files
from camformer_tf.tuning import searchdir

VALUES = {"algorithm": "random", "seed": 42}


def begin(folder, values=VALUES, *, resume=False, overwrite=False):
    searchdir.begin(folder, values, resume=resume, overwrite=overwrite)


def test_a_new_folder_records_the_settings(tmp_path):
    begin(tmp_path / "out")
    assert json.loads((tmp_path / "out" / searchdir.SETTINGS).read_text()) == VALUES
    assert (tmp_path / "out" / searchdir.FOLDER).is_dir()


def test_an_existing_search_is_refused_with_both_ways_out(tmp_path):
    begin(tmp_path / "out")
    with pytest.raises(errors.UserError, match="exists already.* --resume.* --overwrite"):
        begin(tmp_path / "out")


def test_resume_needs_the_same_settings(tmp_path):
    begin(tmp_path / "out")
    begin(tmp_path / "out", resume=True)
    with pytest.raises(errors.UserError, match="begun with another algorithm, seed"):
        begin(tmp_path / "out", {"algorithm": "grid", "seed": 7}, resume=True)
    begin(tmp_path / "new", resume=True)
    assert (tmp_path / "new" / searchdir.SETTINGS).is_file()


def test_overwrite_replaces_the_folder_of_a_search(tmp_path):
    out = tmp_path / "out"
    begin(out)
    (out / "trials.csv").write_text("old")
    begin(out, {"seed": 7}, overwrite=True)
    assert json.loads((out / searchdir.SETTINGS).read_text()) == {"seed": 7}
    assert not (out / "trials.csv").exists()
    assert list(tmp_path.iterdir()) == [out]


def test_overwrite_keeps_a_link_and_replaces_its_target(tmp_path):
    begin(tmp_path / "out")
    (tmp_path / "link").symlink_to("out")
    begin(tmp_path / "link", {"seed": 7}, overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert json.loads((tmp_path / "out" / searchdir.SETTINGS).read_text()) == {"seed": 7}


def test_overwrite_replaces_nothing_but_a_search(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(errors.UserError, match="there is no search.json in it"):
        begin(tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "thesis.txt").is_file()


def test_a_search_whose_trial_is_still_training_is_not_replaced(tmp_path):
    out = tmp_path / "out"
    begin(out)
    trial = out / searchdir.FOLDER / "0"
    trial.mkdir()
    with files.lock(trial), pytest.raises(errors.UserError, match="another process"):
        begin(out, overwrite=True)
    assert trial.is_dir()


def test_a_worker_waits_for_the_chief_of_the_same_search(tmp_path, monkeypatch):
    monkeypatch.setattr(searchdir, "_CHIEF_TIMEOUT", 0.3)
    out = tmp_path / "out"
    with pytest.raises(errors.UserError, match="no chief has begun this search in 0.3 s"):
        searchdir.wait_for_chief(out, VALUES, overwrite=False)
    begin(out)
    searchdir.wait_for_chief(out, VALUES, overwrite=False)
    with pytest.raises(errors.UserError, match="begun with another seed"):
        searchdir.wait_for_chief(out, VALUES | {"seed": 7}, overwrite=False)
    with pytest.raises(errors.UserError, match="no chief has begun"):  # it may yet replace it
        searchdir.wait_for_chief(out, VALUES | {"seed": 7}, overwrite=True)

import json
import math

import pytest
from support import runs

import camformer_tf as cf
from camformer_tf import errors, rundir


def test_a_run_is_read_back_as_it_was_written(tmp_path):
    rundir.save(runs.run(), tmp_path)
    assert rundir.load(tmp_path) == runs.run()


def test_run_json_is_the_fields_in_order(tmp_path):
    rundir.save(runs.run(best_loss=math.nan), tmp_path)
    text = (tmp_path / "run.json").read_text()
    assert text.startswith('{\n  "versions": {\n    "camformer_tf": "0.1.0",\n')
    assert text.endswith('  "sequences_per_second": 15000.4\n}\n') and '"best_loss": NaN' in text
    names = ["stopped" if n == "stop_reason" else n for n in rundir.Run.__dataclass_fields__]
    assert list(json.loads(text)) == names


def test_run_json_is_not_overwritten(tmp_path):
    rundir.save(runs.run(), tmp_path)
    with pytest.raises(errors.UserError, match="run.json: exists already"):
        rundir.save(runs.run(), tmp_path)


def test_a_run_without_run_json_is_not_finished(tmp_path):
    assert not rundir.is_finished(tmp_path) and rundir.load_if_finished(tmp_path) is None
    with pytest.raises(errors.UserError, match="not a finished run: there is no run.json in it"):
        rundir.load(tmp_path)
    rundir.save(runs.run(), tmp_path)
    assert rundir.is_finished(tmp_path) and rundir.load_if_finished(tmp_path) == runs.run()


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"epochs": 3}', "\xff"])
def test_a_broken_run_json_is_refused_by_name(tmp_path, text):
    (tmp_path / "run.json").write_bytes(text.encode("latin-1"))
    for load in (rundir.load, rundir.load_if_finished):
        with pytest.raises(errors.UserError, match=r"run\.json: not a run\.json of this version"):
            load(tmp_path)


def test_a_run_is_readable_in_a_notebook():
    assert repr(runs.run()).splitlines() == [
        "Run",
        "  best epoch   3 of 5 (all epochs done)",
        "  validation   r 0.6300, rho 0.6200, loss 1.5000",
        "  network      59,073 parameters",
        "  training     12 s, 15,000 sequences/s from memory",
        "  devices      CPU:0 (float32)",
    ]


def test_the_summary_is_one_line():
    assert runs.run().summary() == (
        "best epoch 3 of 5 (r + rho 1.2500); all epochs done; 12 s, 15,000 sequences/s"
    )


def test_replicates_are_the_folders_with_a_recipe(tmp_path):
    for name in ("seed-7", "seed-42", "seed-9", "other"):
        (tmp_path / name).mkdir()
        if name != "seed-9":
            (tmp_path / name / rundir.RECIPE).touch()
    assert [path.name for path in rundir.replicates(tmp_path)] == ["seed-42", "seed-7"]
    assert rundir.replicate(7) == "seed-7"


def test_a_run_and_a_file_have_no_replicates(tmp_path):
    (tmp_path / "seed-1").mkdir()
    for folder in (tmp_path, tmp_path / "seed-1"):
        (folder / rundir.RECIPE).touch()
    assert rundir.replicates(tmp_path) == []
    assert rundir.replicates(tmp_path / rundir.RECIPE) == []
    assert rundir.replicates(tmp_path / "nowhere") == []


def test_versions_are_of_python_and_the_libraries():
    versions = rundir.library_versions()
    assert list(versions) == ["camformer_tf", "tensorflow", "keras", "numpy", "python"]
    assert versions["camformer_tf"] == cf.__version__ and all(versions.values())

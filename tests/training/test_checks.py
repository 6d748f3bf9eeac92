import shutil

import pytest

from camformer_tf import errors, recipe, rundir
from camformer_tf.data import records
from camformer_tf.training import checks
from camformer_tf.training import options as fit_options

SETTINGS = recipe.load("smoke")
FACTS = {"recipe": recipe.dump(SETTINGS), "records": "ab" * 32}


def test_records_without_the_splits_of_training_are_refused(library_text, tmp_path):
    records.build_records(library_text, tmp_path / "records", split="train=0.9,holdout=0.1")
    with pytest.raises(errors.UserError, match="no split 'val'"):
        checks.check_records(SETTINGS, tmp_path / "records")


def test_the_number_of_problems_is_told_in_the_right_number(library, tmp_path):
    copy = shutil.copytree(library, tmp_path / "records")
    shards = sorted(copy.glob("*.tfrecord"))
    shards[0].unlink()
    with pytest.raises(errors.UserError) as single:
        checks.check_records(SETTINGS, copy)
    assert " more problem" not in str(single.value)
    shards[1].unlink()
    with pytest.raises(errors.UserError, match=r"\(1 more problem\)"):
        checks.check_records(SETTINGS, copy)
    shards[2].unlink()
    with pytest.raises(errors.UserError, match=r"\(2 more problems\)"):
        checks.check_records(SETTINGS, copy)


def test_a_schedule_of_every_step_does_not_go_with_several_steps_a_call():
    settings = recipe.load("smoke", ["train.schedule=onecycle"])
    assert checks.requires_single_steps(settings, fit_options.FitOptions())
    assert not checks.requires_single_steps(SETTINGS, fit_options.FitOptions(steps_per_call=4))
    with pytest.raises(errors.UserError, match="--steps-per-call 4: train.schedule onecycle"):
        checks.requires_single_steps(settings, fit_options.FitOptions(steps_per_call=4))


def test_a_new_run_is_neither_finished_nor_stored(tmp_path):
    options = fit_options.FitOptions(resume=True)
    assert checks.finished_run(tmp_path / "run", options, FACTS) is None
    assert checks.stored_facts(tmp_path / "run", options, FACTS) == {}


@pytest.mark.parametrize(("name", "kind"), [(None, "an unfinished"), (rundir.RUN, "a finished")])
def test_an_existing_run_is_named_with_the_right_article(tmp_path, name, kind):
    for file in filter(None, (rundir.RECIPE, name)):
        (tmp_path / file).touch()
    with pytest.raises(errors.UserError, match=f"exists already, {kind} run"):
        checks.finished_run(tmp_path, fit_options.FitOptions(), FACTS)

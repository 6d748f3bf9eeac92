import os

import pytest
from click import testing

import camformer_tf as cf
from camformer_tf import cli, errors, files, rundir
from camformer_tf.training import plans


@pytest.fixture(scope="module")
def plan(library, tmp_path_factory) -> plans.FitPlan:
    folder = tmp_path_factory.mktemp("plan")
    result = cf.fit("smoke", library, folder / "run", precision="float32", dry_run=True)
    assert list(folder.iterdir()) == []
    return result


def test_a_plan_says_what_would_be_trained_on_what(plan):
    assert plan.parameters == 59_073 and plan.status == "new"
    assert (plan.training_examples, plan.validation_examples) == (2_700, 300)
    assert plan.steps_per_epoch == 2_700 // plan.batch_size
    assert (plan.devices, plan.strategy, plan.precision) == (["CPU:0"], "one", "float32")
    for words in ("59,073 parameters", "nothing is written", "float32: as requested"):
        assert words in plan.summary() and words in repr(plan)


def test_the_memory_is_at_least_that_of_weights_moments_and_sequences(plan):
    moments, gradients, copies = 2, 1, 2
    minimum = 4 * plan.parameters * (moments + gradients + copies) + 3_000 * (110 + 4)
    assert minimum < plan.memory_bytes < 100 * minimum


def test_the_command_prints_the_plan_and_writes_nothing(library, tmp_path):
    arguments = ["fit", "smoke", str(library), str(tmp_path / "run"), "--dry-run", "--quiet"]
    result = testing.CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == 0, result.output
    assert "59,073 parameters" in result.stdout and os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overrides": ["data.length=120"]}, "110 letters, the recipe's data.length is 120"),
        ({"batch_size": 100_000}, "fewer than one batch"),
        ({"devices": 2, "strategy": "one"}, "--devices 2 with --strategy one"),
    ],
)
def test_a_dry_run_refuses_what_a_run_refuses(library, tmp_path, options, message):
    with pytest.raises(errors.UserError, match=message):
        cf.fit("smoke", library, tmp_path / "run", dry_run=True, **options)


def test_a_dry_run_refuses_a_run_that_exists_or_is_being_trained(library, tmp_path):
    run_dir = tmp_path / "run"
    with files.lock(run_dir), pytest.raises(errors.UserError, match="another process is training"):
        cf.fit("smoke", library, run_dir, dry_run=True)
    run_dir.mkdir()
    (run_dir / rundir.RECIPE).touch()
    with pytest.raises(errors.UserError, match="exists already, an unfinished run"):
        cf.fit("smoke", library, run_dir, dry_run=True)

import hashlib

import pytest

from camformer_tf import errors, recipe
from camformer_tf.training import jobs, networks
from camformer_tf.training import options as fit_options

FLOAT32 = fit_options.FitOptions(precision="float32")


def new_job(library, tmp_path, *changes: str) -> jobs.Job:
    return jobs.Job(recipe.load("smoke", changes), library, tmp_path / "run", FLOAT32)


def test_the_facts_of_a_job_are_its_recipe_and_the_checksum_of_its_records(library, tmp_path):
    job, facts = jobs.check(new_job(library, tmp_path))
    digest = hashlib.sha256((library / "manifest.json").read_bytes()).hexdigest()
    assert facts == {"recipe": networks.recipe_text(job.settings, None), "records": digest}


def test_a_new_job_becomes_batches_and_a_network_with_its_optimizer(library, tmp_path):
    job, facts = jobs.check(new_job(library, tmp_path, "train.batch_size=100"))
    setup = jobs.set_up(job, jobs.make_devices(job), facts)
    assert (setup.training.steps, len(setup.validation.expression)) == (27, 300)
    assert setup.model.optimizer.built and not setup.is_resumed
    assert setup.facts == facts | {"precision": "float32", "data": "memory"}


def test_callbacks_must_be_those_of_keras(library, tmp_path):
    job = jobs.Job(
        recipe.load("smoke"), library, tmp_path / "run", FLOAT32, callbacks=(lambda: None,)
    )
    with pytest.raises(errors.UserError, match="expected keras.callbacks.Callback"):
        jobs.check(job)

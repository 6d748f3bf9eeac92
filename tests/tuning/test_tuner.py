"""The tuner with trainings that only write their run.json."""

from pathlib import Path

import pytest
from support import runs, searches

from camformer_tf import recipe, rundir
from camformer_tf.training import child
from camformer_tf.tuning import options, ranking, searchdir, tuner


@pytest.fixture
def trainings(monkeypatch) -> list[list[str]]:
    """Replaces trainings: returns the commands; the third one fails."""
    commands = []

    def run(arguments, stdout, stderr) -> int:
        commands.append(list(arguments))
        folder = Path(arguments[3])
        folder.mkdir()
        if len(commands) == 3:
            stdout.write("Error: the loss became nan\n")
            return 1
        (folder / rundir.BEST).touch()
        (folder / rundir.CHECKPOINTS).mkdir()
        rundir.save(runs.run(best_score=1 + len(commands) / 10), folder)
        return 0

    monkeypatch.setattr(child, "run", run)
    return commands


def search(folder, **values) -> ranking.Ranking:
    task = tuner.Search(
        searches.search_space(folder), folder, folder / "out",
        options.SearchOptions(trials=4, epochs=7, precision="float32", **values),
    )  # fmt: skip
    searchdir.begin(task.out_dir, {}, resume=False, overwrite=False)
    search_tuner = tuner.make(task, task.oracle())
    search_tuner.search(verbose=0)
    return search_tuner.save_ranking()


def test_each_trial_is_a_fit_of_its_recipe(trainings, tmp_path):
    trials = search(tmp_path, fraction=0.5)
    assert len(trainings) == len(trials) == 4
    for i, command in enumerate(trainings):
        folder = tmp_path / "out" / searchdir.FOLDER / str(i)
        assert command == ["fit", f"{folder}.yaml", str(tmp_path), str(folder), "--resume",
                           "--quiet", "--precision", "float32"]  # fmt: skip
        settings = recipe.load(f"{folder}.yaml")
        assert (settings.train.epochs, settings.train.fraction) == (7, 0.5)


def test_the_best_trial_becomes_a_recipe_and_keeps_its_weights(trainings, tmp_path):
    trials = search(tmp_path)
    assert [trial.trial for trial in trials] == ["3", "1", "0", "2"]
    text = (tmp_path / "out" / searchdir.BEST).read_text()
    assert "The best of 4 trials of my search.yaml: trial 3." in text
    assert "validation r + rho 1.4000" in text and "on the same records" in text
    best = recipe.load(str(tmp_path / "out" / searchdir.BEST))
    assert best.train.learning_rate == trials[0].values["train.learning_rate"]
    folders = tmp_path / "out" / searchdir.FOLDER
    assert [path.parent.name for path in folders.glob(f"*/{rundir.BEST}")] == ["3"]
    assert not list(folders.glob(f"*/{rundir.CHECKPOINTS}"))


def test_a_failed_trial_is_recorded_with_its_reason(trainings, tmp_path):
    failure = search(tmp_path)[-1]
    assert (failure.trial, failure.status) == ("2", "FAILED")
    assert failure.reason == "the loss became nan" and failure.score is None
    assert "the loss became nan" in (tmp_path / "out" / searchdir.TRIALS).read_text()


def test_a_signal_ends_the_search(trainings, tmp_path, monkeypatch):
    monkeypatch.setattr(child, "run", lambda *arguments, **streams: 128 + 15)
    with pytest.raises(tuner.TrialInterrupt) as stop:
        search(tmp_path)
    assert stop.value.code == 143


def test_no_trial_begins_after_the_hours(trainings, tmp_path):
    assert len(search(tmp_path, hours=1e-9)) <= 1

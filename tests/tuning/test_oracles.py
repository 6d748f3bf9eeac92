"""What is proposed, without any training."""

import keras_tuner
import numpy as np
import pytest

from camformer_tf import errors
from camformer_tf.tuning import oracles, space

MANY = {"random": 30, "bayesian": 7, "hyperband": 15, "grid": 30}  # a Bayesian guess is slow
SCORE = keras_tuner.Objective("best_score", "max")
TEXT = """
schema: 1
search: {start_from: [START], max_parameters: 3000}
model:
  residual: false
  padding: 0
  blocks:
    count: {int: [1, 3]}
    each: {filters: {choice: [4, 8]}, kernel: {choice: [3, 40]}}
    pool: {at: {choice: [null, -2]}, size: 4, stride: 4}
  dense: {count: {int: [0, 1]}, each: 8}
train: {epochs: 9, batch_size: 64}
"""
START = """
schema: 1
model: {residual: false, padding: 0, blocks: [{filters: 4, kernel: 3}], dense: []}
"""


@pytest.fixture
def searched(tmp_path) -> space.Space:
    (tmp_path / "start.yaml").write_text(START)
    path = tmp_path / "search.yaml"
    path.write_text(TEXT.replace("START", str(tmp_path / "start.yaml")))
    return space.load(path)


def search(searched, folder, algorithm, trials=40, seed=1, epochs=9, score=None):
    """Runs the oracle as a tuner would; `score`: values → what a trial comes to."""
    oracle = oracles.make(searched, algorithm, SCORE, trials=trials, epochs=epochs, seed=seed)
    oracle.verbose = 0
    oracle._set_project_dir(str(folder), "project")
    found = []
    while (trial := oracle.create_trial("tuner0")).status != "STOPPED":
        values = oracles.decoded(searched, trial.hyperparameters.values)
        oracle.update_trial(trial.trial_id, {"best_score": score(values) if score else 1.0})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
        found.append((values, trial.hyperparameters.values))
    return found


@pytest.mark.parametrize("algorithm", oracles.ALGORITHMS)
def test_only_networks_that_can_be_are_proposed_and_none_twice(searched, tmp_path, algorithm):
    found = search(searched, tmp_path, algorithm, trials=MANY[algorithm])
    assert len(found) >= MANY[algorithm]
    for values, _ in found:
        made = searched.recipe(values)  # raises if it cannot be
        assert made.expect.parameters <= 3000
        assert set(values) == set(searched.active(values))
    first_rounds = [values for values, kept in found if not kept.get("tuner/initial_epoch")]
    assert len({str(sorted(v.items())) for v in first_rounds}) == len(first_rounds)


@pytest.mark.parametrize("algorithm", ["random", "bayesian", "hyperband"])
def test_the_recipes_to_start_from_come_first(searched, tmp_path, algorithm):
    (start,) = searched.search.start_from
    first = search(searched, tmp_path, algorithm, trials=3)[0][0]
    assert searched.recipe(first) == searched.recipe(searched.values(start))
    assert first["model.blocks.count"] == 1 and "model.blocks.1.kernel" not in first


@pytest.mark.parametrize("algorithm", oracles.ALGORITHMS)
def test_a_seed_proposes_the_same_again(searched, tmp_path, algorithm):
    def scored(values):
        return values["model.blocks.count"] + values["model.blocks.0.filters"]

    one, same, other = (
        search(searched, tmp_path / str(i), algorithm, MANY[algorithm], seed, score=scored)
        for i, seed in enumerate([1, 1, 2])
    )
    assert one == same
    assert (one == other) == (algorithm == "grid")


def test_a_grid_tries_every_combination_that_can_be(searched, tmp_path):
    found = search(searched, tmp_path, "grid", trials=10_000)
    possible = 0
    seen = set()
    for coded in oracles._grid(searched):
        values = oracles.decoded(searched, coded)
        key = str(sorted(values.items()))
        try:
            searched.recipe(values)
        except errors.UserError:
            continue
        possible += key not in seen
        seen.add(key)
    assert len(found) == possible > 40


def test_hyperband_trains_the_better_ones_for_longer(searched, tmp_path):
    found = search(
        searched, tmp_path, "hyperband", score=lambda values: values["model.blocks.0.filters"]
    )
    epochs = [kept["tuner/epochs"] for _, kept in found]
    assert set(epochs) == {1, 3, 9}
    filters = {False: [], True: []}
    for values, kept in found:
        filters[kept["tuner/initial_epoch"] > 0].append(values["model.blocks.0.filters"])
    assert np.mean(filters[True]) > np.mean(filters[False]) + 1
    with pytest.raises(errors.UserError, match="it needs 3"):
        search(searched, tmp_path / "few", "hyperband", epochs=2)


def test_a_grid_over_numbers_without_steps_is_refused(tmp_path):
    path = tmp_path / "search.yaml"
    path.write_text("schema: 1\nmodel: {blocks: [{filters: 4, kernel: 3}, {filters: 4, kernel: 3}]}"
                    "\ntrain: {learning_rate: {log: [0.001, 0.01]}}\n")  # fmt: skip
    with pytest.raises(errors.UserError, match="train.learning_rate: a grid needs a step"):
        search(space.load(path), tmp_path, "grid")


def test_a_space_in_which_nothing_can_be_ends_with_advice(tmp_path, monkeypatch):
    monkeypatch.setattr(oracles, "_DRAWS", 20)
    path = tmp_path / "search.yaml"
    path.write_text(TEXT.replace("start_from: [START], max_parameters: 3000", "max_parameters: 5"))
    with pytest.raises(keras_tuner.errors.FatalValueError, match="Narrow the ranges"):
        search(space.load(path), tmp_path, "random")

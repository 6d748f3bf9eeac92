"""Proposals of the oracles, without any training."""

import keras_tuner
import numpy as np
import pytest

from camformer_tf import errors
from camformer_tf.tuning import options, oracles, space

COUNTS = {
    "random": 30,
    "bayesian": 7,
    "hyperband": 15,
    "grid": 30,
}  # trials; a Bayesian guess is slow
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
def search_space(tmp_path) -> space.Space:
    (tmp_path / "start.yaml").write_text(START)
    path = tmp_path / "search.yaml"
    path.write_text(TEXT.replace("START", str(tmp_path / "start.yaml")))
    return space.load(path)


def propose(search_space, folder, algorithm, trials=40, seed=1, epochs=9, score=None):
    """Runs an oracle as a tuner does; `score`: values → the score of a trial."""
    oracle = oracles.make(search_space, algorithm, SCORE, trials=trials, epochs=epochs, seed=seed)
    oracle.verbose = 0
    oracle._set_project_dir(str(folder), "project")
    proposals = []
    while (trial := oracle.create_trial("tuner0")).status != "STOPPED":
        values = oracles.decode(search_space, trial.hyperparameters.values)
        oracle.update_trial(trial.trial_id, {"best_score": score(values) if score else 1.0})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
        proposals.append((values, trial.hyperparameters.values))
    return proposals


@pytest.mark.parametrize("algorithm", options.ALGORITHMS)
def test_only_feasible_networks_are_proposed_and_none_twice(search_space, tmp_path, algorithm):
    proposals = propose(search_space, tmp_path, algorithm, trials=COUNTS[algorithm])
    assert len(proposals) >= COUNTS[algorithm]
    for values, _ in proposals:
        settings = search_space.to_recipe(values)  # raises unless it is feasible
        assert settings.expect.parameters <= 3000
        assert set(values) == set(search_space.active(values))
    first_rounds = [
        values for values, all_values in proposals if not all_values.get("tuner/initial_epoch")
    ]
    assert len({str(sorted(v.items())) for v in first_rounds}) == len(first_rounds)


@pytest.mark.parametrize("algorithm", ["random", "bayesian", "hyperband"])
def test_the_recipes_to_start_from_come_first(search_space, tmp_path, algorithm):
    (start,) = search_space.search.start_from
    first = propose(search_space, tmp_path, algorithm, trials=3)[0][0]
    assert search_space.to_recipe(first) == search_space.to_recipe(search_space.from_recipe(start))
    assert first["model.blocks.count"] == 1 and "model.blocks.1.kernel" not in first


@pytest.mark.parametrize("algorithm", options.ALGORITHMS)
def test_a_seed_gives_the_same_proposals(search_space, tmp_path, algorithm):
    def score(values):
        return values["model.blocks.count"] + values["model.blocks.0.filters"]

    first, second, third = (
        propose(search_space, tmp_path / str(i), algorithm, COUNTS[algorithm], seed, score=score)
        for i, seed in enumerate([1, 1, 2])
    )
    assert first == second
    assert (first == third) == (algorithm == "grid")


def test_a_grid_tries_every_feasible_combination(search_space, tmp_path):
    proposals = propose(search_space, tmp_path, "grid", trials=10_000)
    feasible = 0
    keys = set()
    for choice in oracles.combinations(search_space):
        values = oracles.decode(search_space, choice)
        key = str(sorted(values.items()))
        try:
            search_space.to_recipe(values)
        except errors.UserError:
            continue
        feasible += key not in keys
        keys.add(key)
    assert len(proposals) == feasible > 40


def test_hyperband_trains_the_better_ones_for_longer(search_space, tmp_path):
    proposals = propose(
        search_space, tmp_path, "hyperband", score=lambda values: values["model.blocks.0.filters"]
    )
    epochs = [all_values["tuner/epochs"] for _, all_values in proposals]
    assert set(epochs) == {1, 3, 9}
    filters = {False: [], True: []}
    for values, all_values in proposals:
        filters[all_values["tuner/initial_epoch"] > 0].append(values["model.blocks.0.filters"])
    assert np.mean(filters[True]) > np.mean(filters[False]) + 1
    with pytest.raises(errors.UserError, match="at least 3"):
        propose(search_space, tmp_path / "few", "hyperband", epochs=2)


def test_a_grid_over_numbers_without_steps_is_refused(tmp_path):
    path = tmp_path / "search.yaml"
    path.write_text("schema: 1\nmodel: {blocks: [{filters: 4, kernel: 3}, {filters: 4, kernel: 3}]}"
                    "\ntrain: {learning_rate: {log: [0.001, 0.01]}}\n")  # fmt: skip
    with pytest.raises(errors.UserError, match="train.learning_rate: a grid needs a step"):
        propose(space.load(path), tmp_path, "grid")


def test_a_space_without_a_feasible_network_ends_with_advice(tmp_path, monkeypatch):
    monkeypatch.setattr(oracles, "_DRAWS", 20)
    path = tmp_path / "search.yaml"
    path.write_text(TEXT.replace("start_from: [START], max_parameters: 3000", "max_parameters: 5"))
    with pytest.raises(keras_tuner.errors.FatalValueError, match="Narrow the ranges"):
        propose(space.load(path), tmp_path, "random")

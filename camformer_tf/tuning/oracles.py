"""KerasTuner's oracles over a search space: what to try next, of what can be.

A choice is a hyperparameter of JSON texts, since its values may be of several types.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping

import keras_tuner

from camformer_tf import errors
from camformer_tf.tuning import space

ALGORITHMS = ("random", "bayesian", "hyperband", "grid")

_DRAWS = 10_000  # of networks that cannot be, one after another, before the search gives up
_PROPOSALS = 3  # the same for the best guess of the Bayesian oracle, which takes seconds each


def make(
    searched: space.Space,
    algorithm: str,
    objective: keras_tuner.Objective,
    *,
    trials: int,
    epochs: int,
    seed: int,
) -> keras_tuner.Oracle:
    """Returns the oracle of an algorithm; all but "grid" begin with the space's `start_from`.

    Args:
        trials: at most so many; Hyperband makes as many as its brackets need.
        epochs: that Hyperband trains its winners for.

    Raises:
        errors.UserError: ranges that a grid cannot step through, or too few epochs for Hyperband.
    """
    common = {
        "objective": objective,
        "hyperparameters": hyperparameters(searched),
        "allow_new_entries": False,
        "tune_new_entries": False,
        "seed": seed,
        "max_consecutive_failed_trials": 10**9,  # the search goes on, and says what failed
    }
    if algorithm == "hyperband":
        if epochs < 3:
            raise errors.UserError(
                f"--epochs {epochs}: Hyperband first trains for a third of them, so it needs 3."
            )
        made = _Hyperband(max_epochs=epochs, **common)
    elif algorithm == "bayesian":
        first = len(searched.search.start_from) + max(3, trials // 4)
        made = _Bayesian(max_trials=trials, num_initial_points=first, **common)
    elif algorithm == "grid":
        for key, one in searched.ranges.items():
            _steps(key, one)
        made = _Grid(max_trials=trials, **common)
    else:
        made = _Random(max_trials=trials, **common)
    made.searched = searched
    return made


def hyperparameters(searched: space.Space) -> keras_tuner.HyperParameters:
    """Returns the ranges as KerasTuner knows them, those of longer lists under their condition."""
    found = keras_tuner.HyperParameters()
    for key, one in searched.ranges.items():
        count, least = searched.needs.get(key, (None, 0))
        if count is None:
            _add(found, key, one)
            continue
        longest = searched.ranges[count]
        enough = [v for v in _steps(count, longest) if v >= least]
        with found.conditional_scope(count, [_coded(longest, v) for v in enough]):
            _add(found, key, one)
    return found


def decoded(searched: space.Space, values: Mapping[str, object]) -> dict[str, space.Value]:
    """Returns KerasTuner's values of a trial as those of the space; its own are left out."""
    ranges = searched.ranges
    return {
        key: json.loads(value) if ranges[key].kind == "choice" else value
        for key, value in values.items()
        if key in ranges
    }


def coded(searched: space.Space, values: Mapping[str, space.Value]) -> dict[str, object]:
    """Returns the values of the space that count as KerasTuner's."""
    active = searched.active(values)
    return {key: _coded(searched.ranges[key], value) for key, value in active.items()}


def _coded(one: space.Range, value: space.Value) -> object:
    return json.dumps(value) if one.kind == "choice" else value


def _add(found: keras_tuner.HyperParameters, key: str, one: space.Range) -> None:
    if one.kind == "choice":
        found.Choice(key, [json.dumps(value) for value in one.values], ordered=False)
    elif one.kind == "int":
        found.Int(key, one.low, one.high, step=one.step)
    else:
        sampling = "log" if one.kind == "log" else "linear"
        found.Float(key, one.low, one.high, step=one.step, sampling=sampling)


def _steps(key: str, one: space.Range) -> list[space.Value]:
    """Returns all values of a range."""
    if one.kind == "choice":
        return list(one.values)
    if one.step is None:
        raise errors.UserError(
            f"{key}: a grid needs a step in every range of numbers, such as "
            "{float: [0.0, 0.4, 0.1]}, or a choice."
        )
    count = math.floor((one.high - one.low) / one.step + 1e-9) + 1
    return [one.low + i * one.step for i in range(count)]


class _Possible:
    """An oracle that proposes only what the space makes a recipe of, its `start_from` first."""

    searched: space.Space
    after_trial: Callable[[str], None] | None = None  # told the trial's id, where the oracle lives

    def end_trial(self, trial):
        super().end_trial(trial)
        if self.after_trial:
            self.after_trial(trial.trial_id)

    def possible(self, values: Mapping[str, object]) -> bool:
        try:
            self.searched.recipe(decoded(self.searched, values))
        except errors.UserError:
            return False
        return True

    def _random_values(self):  # of KerasTuner's Oracle: what all its random draws come from
        for name in self.searched.search.start_from:
            values = coded(self.searched, self.searched.values(name))
            if not self._duplicate(values):
                return values
        for _ in range(_DRAWS):
            values = super()._random_values()
            if values is None or self.possible(values):
                return values
        raise keras_tuner.errors.FatalValueError(
            f"{self.searched.where}: of {_DRAWS:,} draws not one is a network that can be. "
            "Narrow the ranges, or raise search.max_parameters."
        )


class _Random(_Possible, keras_tuner.oracles.RandomSearchOracle):
    pass


class _Hyperband(_Possible, keras_tuner.oracles.HyperbandOracle):
    pass


class _Bayesian(_Possible, keras_tuner.oracles.BayesianOptimizationOracle):
    def populate_space(self, trial_id):
        for _ in range(_PROPOSALS):
            response = super().populate_space(trial_id)
            values = response["values"]
            if values is None or (self.possible(values) and not self._duplicate(values)):
                return response
        return self._random_populate_space()


class _Grid(_Possible, keras_tuner.Oracle):
    """Every combination that can be, once, the last range changing fastest."""

    def populate_space(self, trial_id):
        for values in _grid(self.searched):
            if not self._duplicate(values) and self.possible(values):
                return {"status": "RUNNING", "values": values}
        return {"status": "IDLE" if self.ongoing_trials else "STOPPED", "values": None}


def _grid(searched: space.Space) -> Iterator[dict[str, object]]:
    keys = list(searched.ranges)
    steps = [_steps(key, searched.ranges[key]) for key in keys]
    for chosen in itertools.product(*steps):
        yield coded(searched, dict(zip(keys, chosen, strict=True)))

"""KerasTuner oracles over a search space: they propose the next values, all of them feasible.

A choice is a KerasTuner hyperparameter of JSON texts, since its values may be of several types.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras_tuner

from camformer_tf import errors
from camformer_tf.tuning import space, template

_DRAWS = 10_000  # infeasible random proposals in a row before the search ends
_PROPOSALS = 3  # the same for the best guess of the Bayesian oracle, which takes seconds each


def make(
    search_space: space.Space,
    algorithm: str,
    objective: keras_tuner.Objective,
    *,
    trials: int,
    epochs: int,
    seed: int,
) -> Oracle:
    """Returns the oracle of an algorithm; all but "grid" begin with the space's `start_from`.

    Args:
        search_space: values that may be proposed.
        algorithm: one of `options.ALGORITHMS`.
        objective: the number that a trial reports.
        trials: maximum number of trials; Hyperband makes as many as its brackets need.
        epochs: epochs of Hyperband's winners.
        seed: seed of the proposals.

    Raises:
        errors.UserError: ranges that a grid cannot step through, or too few epochs for Hyperband.
    """
    common = {
        "objective": objective,
        "hyperparameters": hyperparameters(search_space),
        "allow_new_entries": False,
        "tune_new_entries": False,
        "seed": seed,
        "max_consecutive_failed_trials": 10**9,  # the search continues, and reports failures
    }
    oracle: Oracle
    if algorithm == "hyperband":
        if epochs < 3:
            raise errors.UserError(
                f"--epochs {epochs}: Hyperband first trains for a third of the epochs, so it needs "
                "at least 3."
            )
        oracle = _Hyperband(max_epochs=epochs, **common)
    elif algorithm == "bayesian":
        # a quarter of the trials is random, after the recipes to start from
        initial_points = len(search_space.search.start_from) + max(3, trials // 4)
        oracle = _Bayesian(max_trials=trials, num_initial_points=initial_points, **common)
    elif algorithm == "grid":
        for key, value_range in search_space.ranges.items():
            _steps(key, value_range)  # refuses what has no steps
        oracle = _Grid(max_trials=trials, **common)
    else:
        oracle = _Random(max_trials=trials, **common)
    oracle.search_space = search_space
    return oracle


def hyperparameters(search_space: space.Space) -> keras_tuner.HyperParameters:
    """Returns the ranges for KerasTuner, those of longer lists with their condition."""
    parameters = keras_tuner.HyperParameters()
    for key, value_range in search_space.ranges.items():
        count_key, minimum = search_space.conditions.get(key, (None, 0))
        if count_key is None:
            _add(parameters, key, value_range)
            continue
        count_range = search_space.ranges[count_key]
        counts = [v for v in _steps(count_key, count_range) if isinstance(v, int) and v >= minimum]
        with parameters.conditional_scope(count_key, [_encode(count_range, v) for v in counts]):
            _add(parameters, key, value_range)
    return parameters


def decode(search_space: space.Space, values: Mapping[str, Any]) -> dict[str, template.Value]:
    """Returns the space's values of a KerasTuner trial, without those of KerasTuner itself."""
    ranges = search_space.ranges
    return {
        key: json.loads(value) if ranges[key].kind == "choice" else value
        for key, value in values.items()
        if key in ranges
    }


def encode(search_space: space.Space, values: Mapping[str, template.Value]) -> dict[str, Any]:
    """Returns the values in use as KerasTuner's."""
    active = search_space.active(values)
    return {key: _encode(search_space.ranges[key], value) for key, value in active.items()}


def _encode(value_range: template.Range, value: template.Value) -> Any:
    return json.dumps(value) if value_range.kind == "choice" else value


def _add(parameters: keras_tuner.HyperParameters, key: str, value_range: template.Range) -> None:
    if value_range.kind == "choice":
        parameters.Choice(key, [json.dumps(value) for value in value_range.values], ordered=False)
        return
    low, high, step = value_range.low, value_range.high, value_range.step
    if value_range.kind == "int":
        parameters.Int(key, low, high, step=step)
    else:
        sampling = "log" if value_range.kind == "log" else "linear"
        parameters.Float(key, low, high, step=step, sampling=sampling)


def _steps(key: str, value_range: template.Range) -> list[template.Value]:
    """Returns all values of a range."""
    if value_range.kind == "choice":
        return list(value_range.values)
    if value_range.step is None:
        raise errors.UserError(
            f"{key}: a grid needs a step in every range of numbers, such as "
            "{float: [0.0, 0.4, 0.1]}, or a choice."
        )
    low, step = value_range.low, value_range.step
    # the tolerance keeps the upper end of ranges such as [0.0, 0.3, 0.1]
    count = math.floor((value_range.high - low) / step + 1e-9) + 1
    return [low + i * step for i in range(count)]


class Oracle(keras_tuner.Oracle):
    """An oracle that proposes only feasible values, those of `start_from` first.

    Attributes:
        search_space: values that may be proposed.
        after_trial: called with the id of every trial that ends, in the process of the oracle.
    """

    search_space: space.Space
    after_trial: Callable[[str], None] | None = None

    def end_trial(self, trial: Any) -> None:
        """Ends a trial; see KerasTuner."""
        super().end_trial(trial)
        if self.after_trial:
            self.after_trial(trial.trial_id)

    def is_feasible(self, values: Mapping[str, Any]) -> bool:
        """Returns whether KerasTuner's values make a recipe."""
        try:
            self.search_space.to_recipe(decode(self.search_space, values))
        except errors.UserError:
            return False
        return True

    def _random_values(self) -> dict[str, Any] | None:  # the source of KerasTuner's random draws
        for name in self.search_space.search.start_from:
            values = encode(self.search_space, self.search_space.from_recipe(name))
            if not self._duplicate(values):
                return values
        # an infeasible draw costs milliseconds, a failed trial minutes
        for _ in range(_DRAWS):
            values = super()._random_values()
            if values is None or self.is_feasible(values):
                return values
        raise keras_tuner.errors.FatalValueError(
            f"{self.search_space.source}: none of {_DRAWS:,} random draws is a possible network. "
            "Narrow the ranges, or raise search.max_parameters."
        )


class _Random(Oracle, keras_tuner.oracles.RandomSearchOracle):
    """Random search."""


class _Hyperband(Oracle, keras_tuner.oracles.HyperbandOracle):
    """Hyperband."""


class _Bayesian(Oracle, keras_tuner.oracles.BayesianOptimizationOracle):
    """Bayesian optimization, with random values where its best guesses are not feasible."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Returns the next proposal; see KerasTuner."""
        for _ in range(_PROPOSALS):
            response = super().populate_space(trial_id)
            values = response["values"]
            if values is None or (self.is_feasible(values) and not self._duplicate(values)):
                return response
        return self._random_populate_space()


class _Grid(Oracle):
    """Every feasible combination once, the last range changing fastest."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Returns the next proposal; see KerasTuner."""
        for values in combinations(self.search_space):
            if not self._duplicate(values) and self.is_feasible(values):
                return {"status": "RUNNING", "values": values}
        return {"status": "IDLE" if self.ongoing_trials else "STOPPED", "values": None}


def combinations(search_space: space.Space) -> Iterator[dict[str, Any]]:
    """Yields KerasTuner's values of every combination of the ranges' steps."""
    keys = list(search_space.ranges)
    steps = [_steps(key, search_space.ranges[key]) for key in keys]
    for values in itertools.product(*steps):
        yield encode(search_space, dict(zip(keys, values, strict=True)))

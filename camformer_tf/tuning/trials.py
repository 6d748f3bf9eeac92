"""The trials of a search: in order, on the Pareto front, as trials.csv."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from camformer_tf import files
from camformer_tf.tuning import space

OBJECTIVES = {  # name → which way it is better
    "score": "max",
    "pearson": "max",
    "spearman": "max",
    "loss": "min",
    "score-parameters": "max",
    "score-speed": "max",
}


@dataclasses.dataclass(frozen=True)
class Trial:
    """A trial as trials.csv has it; what is not known of it is None. `pareto`: no other trial of
    as few parameters scores higher; `pareto_speed`: none that trains as many sequences a second.
    """

    trial: str
    status: str
    objective: float | None
    score: float | None
    pearson: float | None
    spearman: float | None
    loss: float | None
    epochs: int | None
    parameters: int | None
    sequences_per_second: float | None
    seconds: float | None
    pareto: bool
    pareto_speed: bool
    reason: str
    values: dict[str, space.Value]


def objective(run: Mapping[str, float], name: str, tenfold: float) -> float:
    """Returns what a search makes as large (of a loss, as small) as it can, at the best epoch of a
    run: one of its scores, or r + rho less what its size or slowness costs.

    Args:
        run: what run.json tells.
        name: one of `OBJECTIVES`.
        tenfold: how much r + rho ten times fewer parameters are worth, or ten times more sequences
            a second in training.
    """
    if name == "score-parameters":
        return run["best_score"] - tenfold * math.log10(run["parameters"])
    if name == "score-speed":
        return run["best_score"] + tenfold * math.log10(run["sequences_per_second"])
    return run[f"best_{name}"]


def best_five(trials: Sequence[Trial]) -> str:
    """Returns the five best as a table for a person."""
    rows = [f"{'trial':>6} {'r + rho':>8} {'r':>7} {'rho':>7} {'parameters':>11} {'seconds':>8}"]
    for one in [one for one in trials if one.score is not None][:5]:
        rows.append(
            f"{one.trial:>6} {one.score:>8.4f} {one.pearson:>7.4f} {one.spearman:>7.4f} "
            f"{one.parameters:>11,} {one.seconds:>8.0f}"
        )
    return "\n".join(rows)


def line(one: Trial) -> str:
    """Returns what became of a trial for a person."""
    if one.score is None:
        return f"trial {one.trial} failed: {one.reason}"
    return f"trial {one.trial}: r + rho {one.score:.4f} in {one.seconds:.0f} s"


def rank(one: Trial, direction: str) -> tuple[bool, float]:
    """Returns what to sort trials by, the best first and those that failed last."""
    if one.objective is None:
        return True, 0.0
    return False, -one.objective if direction == "max" else one.objective


def with_fronts(trials: Sequence[Trial]) -> list[Trial]:
    """Returns the trials with their places on the Pareto fronts of score and parameters, and of
    score and speed.
    """
    small = _front(trials, lambda one: one.parameters)
    fast = _front(trials, lambda one: -one.sequences_per_second)
    return [
        dataclasses.replace(one, pareto=one.trial in small, pareto_speed=one.trial in fast)
        for one in trials
    ]


def _front(trials: Sequence[Trial], cost: Callable[[Trial], float]) -> set[str]:
    """Returns the trials that no other beats: as cheap, as good, and one of these better."""
    done = [(one.trial, one.score, cost(one)) for one in trials if one.score is not None]
    return {
        name
        for name, score, price in done
        if not any((s, p) != (score, price) and s >= score and p <= price for _, s, p in done)
    }


def save(trials: Sequence[Trial], path: Path, keys: Sequence[str]) -> None:
    """Writes trials.csv, with a column for each key of the space."""
    names = [field.name for field in dataclasses.fields(Trial) if field.name != "values"]
    with (
        files.new_file(path, overwrite=True) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        table = csv.writer(file, lineterminator="\n")
        table.writerow([*names, *keys])
        for one in trials:
            values = [one.values.get(key, "") for key in keys]
            table.writerow([*(getattr(one, name) for name in names), *values])

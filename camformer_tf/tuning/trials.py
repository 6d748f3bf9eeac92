"""The trials of a search: in order, on the Pareto front, as trials.csv."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from camformer_tf import rundir
from camformer_tf.tuning import space


@dataclasses.dataclass(frozen=True)
class Trial:
    """A trial as trials.csv has it; what is not known of it is None. `pareto`: no other trial of
    as few parameters scores higher."""

    trial: str
    status: str
    score: float | None
    pearson: float | None
    spearman: float | None
    loss: float | None
    epochs: int | None
    parameters: int | None
    sequences_per_second: float | None
    seconds: float | None
    pareto: bool
    reason: str
    values: dict[str, space.Value]


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


def rank(one: Trial, objective: str, direction: str) -> tuple[bool, float]:
    """Returns what to sort trials by, the best first and those that failed last."""
    value = getattr(one, objective)
    if value is None:
        return True, 0.0
    return False, -value if direction == "max" else value


def with_front(trials: Sequence[Trial]) -> list[Trial]:
    """Returns the trials with their place on the Pareto front of score and parameters."""

    def beaten(one: Trial) -> bool:
        return any(
            other.score is not None
            and (other.score, -other.parameters) != (one.score, -one.parameters)
            and other.score >= one.score
            and other.parameters <= one.parameters
            for other in trials
        )

    return [
        dataclasses.replace(one, pareto=one.score is not None and not beaten(one)) for one in trials
    ]


def save(trials: Sequence[Trial], path: Path, keys: Sequence[str]) -> None:
    """Writes trials.csv, with a column for each key of the space."""
    names = [field.name for field in dataclasses.fields(Trial) if field.name != "values"]
    with (
        rundir.new_file(path, overwrite=True) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        table = csv.writer(file, lineterminator="\n")
        table.writerow([*names, *keys])
        for one in trials:
            values = [one.values.get(key, "") for key in keys]
            table.writerow([*(getattr(one, name) for name in names), *values])

"""The trials of a search: in order, on the Pareto fronts, as trials.csv."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from camformer_tf import files, rundir, wording
from camformer_tf.tuning import template

_BEST_COUNT = 5  # trials in a summary


@dataclasses.dataclass(frozen=True)
class Trial:
    """A trial as a row of trials.csv; None where a value is not known.

    Attributes:
        score: r + rho.
        pareto: whether no smaller network scores higher.
        pareto_speed: whether no network that trains faster scores higher.
        reason: why the trial failed.
        values: dotted key → value.
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
    values: dict[str, template.Value]

    @property
    def is_complete(self) -> bool:
        """Whether the trial was trained to its end."""
        return self.status == "COMPLETED"

    def summary(self) -> str:
        """Returns the outcome of the trial in one line."""
        if self.score is None:
            return f"trial {self.trial} failed: {self.reason}"
        return f"trial {self.trial}: r + rho {self.score:.4f} in {self.seconds:.0f} s"


@dataclasses.dataclass(frozen=True, repr=False)
class Ranking:
    """The trials of a search, the best first; failed and running ones last."""

    trials: tuple[Trial, ...]
    keys: tuple[str, ...]

    def __repr__(self) -> str:
        count = wording.count(len(self), "trial")
        return f"Ranking of {count}, the best first\n{self.summary()}"

    def __len__(self) -> int:
        return len(self.trials)

    def __iter__(self) -> Iterator[Trial]:
        return iter(self.trials)

    def __getitem__(self, index: int) -> Trial:
        return self.trials[index]

    @property
    def best(self) -> Trial | None:
        """The best trial; None where no trial is complete."""
        return self.trials[0] if self.trials and self.trials[0].is_complete else None

    def summary(self) -> str:
        """Returns the five best trials as a table for a person."""
        lines = [
            f"{'trial':>6} {'r + rho':>8} {'r':>7} {'rho':>7} {'parameters':>11} {'seconds':>8}"
        ]
        for trial in [trial for trial in self.trials if trial.score is not None][:_BEST_COUNT]:
            lines.append(
                f"{trial.trial:>6} {trial.score:>8.4f} {trial.pearson:>7.4f} "
                f"{trial.spearman:>7.4f} {trial.parameters:>11,} {trial.seconds:>8.0f}"
            )
        return "\n".join(lines)

    def table(self) -> pd.DataFrame:
        """Returns the contents of trials.csv."""
        rows = [_row(trial, self.keys) for trial in self.trials]
        return pd.DataFrame(rows, columns=[*_columns(), *self.keys])

    def save(self, path: Path) -> None:
        """Writes trials.csv, with a column for each key of the space."""
        with files.text_output(path, overwrite=True) as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow([*_columns(), *self.keys])
            table.writerows(_row(trial, self.keys) for trial in self.trials)


def rank(trials: Iterable[Trial], direction: str, keys: Sequence[str]) -> Ranking:
    """Returns trials in order, with their places on the Pareto fronts.

    Args:
        trials: those of a search, in any order.
        direction: "max" or "min", that of the objective.
        keys: of the space.
    """
    sign = -1 if direction == "max" else 1

    def position(trial: Trial) -> tuple[bool, float]:
        return trial.objective is None, sign * (trial.objective or 0.0)

    order = sorted(trials, key=position)
    # cheap means few parameters, or many sequences a second
    small = _front(order, lambda trial: trial.parameters)
    fast = _front(order, lambda trial: -(trial.sequences_per_second or 0))
    return Ranking(
        tuple(
            dataclasses.replace(
                trial, pareto=trial.trial in small, pareto_speed=trial.trial in fast
            )
            for trial in order
        ),
        tuple(keys),
    )


def objective(run: rundir.Run, name: str, tenfold: float) -> float:
    """Returns the objective of a search, at the best epoch of a run.

    Args:
        run: a finished run.
        name: one of `options.OBJECTIVES`: a score, or r + rho with a penalty for size or a bonus
            for speed.
        tenfold: r + rho that ten times fewer parameters, or ten times the speed in training, are
            worth.
    """
    if name == "score-parameters":
        return run.best_score - tenfold * math.log10(run.parameters)
    if name == "score-speed":
        return run.best_score + tenfold * math.log10(run.sequences_per_second)
    return getattr(run, f"best_{name}")


def _front(trials: Sequence[Trial], cost: Callable[[Trial], float | None]) -> set[str]:
    """Returns the trials on the Pareto front: no trial is both as cheap and as good, or better."""
    points = [
        (trial.trial, trial.score, price)
        for trial in trials
        if trial.score is not None and (price := cost(trial)) is not None
    ]
    return {
        name
        for name, score, price in points
        if not any((s, p) != (score, price) and s >= score and p <= price for _, s, p in points)
    }


def _columns() -> list[str]:
    return [field.name for field in dataclasses.fields(Trial) if field.name != "values"]


def _row(trial: Trial, keys: Sequence[str]) -> list[object]:
    """Returns a row of trials.csv; a value that the trial does not use is empty."""
    return [
        *(getattr(trial, name) for name in _columns()),
        *(trial.values.get(key, "") for key in keys),
    ]

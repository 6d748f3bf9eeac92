"""How a search proceeds: its algorithm, its objective and its budget."""

from __future__ import annotations

import dataclasses

from camformer_tf import errors, recipe

ALGORITHMS = ("random", "bayesian", "hyperband", "grid")
OBJECTIVES = {  # name → direction in which it improves
    "score": "max",
    "pearson": "max",
    "spearman": "max",
    "loss": "min",
    "score-parameters": "max",
    "score-speed": "max",
}


@dataclasses.dataclass(frozen=True)
class SearchOptions:
    """How a search proceeds.

    Attributes:
        algorithm: one of `ALGORITHMS`.
        objective: one of `OBJECTIVES`, of validation at a trial's best epoch; see
            `ranking.objective`.
        tenfold: r + rho that ten times fewer parameters, or ten times the speed, are worth.
        trials: maximum number of trials.
        epochs: of each trial, for Hyperband of its winners; None: as the recipe says.
        fraction: fraction of the training sequences that trials use; None: as the recipe says.
        hours: time after which no trial begins.
        seed: seed of the proposals; the seed of a training is that of the recipe.
        precision: precision of each trial, see `fit`; None: fit's default.
    """

    algorithm: str = "random"
    objective: str = "score"
    tenfold: float = 0.05
    trials: int = 20
    epochs: int | None = None
    fraction: float | None = None
    hours: float | None = None
    seed: int = recipe.TrainConfig.seed
    precision: str | None = None

    @property
    def direction(self) -> str:
        """Whether the objective improves upwards ("max") or downwards ("min")."""
        return OBJECTIVES[self.objective]

    @property
    def fit_arguments(self) -> list[str]:
        """Arguments of `camformer-tf fit` for every trial."""
        return ["--precision", self.precision] if self.precision else []

    def check(self) -> None:
        """Refuses values that no search can have.

        Raises:
            errors.UserError: a value out of range; the message names it.
        """
        for name, choices in (("algorithm", ALGORITHMS), ("objective", tuple(OBJECTIVES))):
            if getattr(self, name) not in choices:
                raise errors.UserError(
                    f"{name}: expected one of {', '.join(choices)}, found {getattr(self, name)!r}."
                )
        for name in ("trials", "epochs"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise errors.UserError(f"{name}: expected 1 or more, found {count}.")
        if self.fraction is not None and not 0 < self.fraction <= 1:
            raise errors.UserError(
                f"fraction: expected more than 0 and at most 1, found {self.fraction:g}."
            )
        for name in ("tenfold", "hours"):
            number = getattr(self, name)
            if number is not None and not number > 0:
                raise errors.UserError(f"{name}: expected more than 0, found {number:g}.")

"""How a run is carried out, apart from what it trains."""

from __future__ import annotations

import dataclasses

from camformer_tf import errors
from camformer_tf.batches import dataset
from camformer_tf.training import strategies


@dataclasses.dataclass(frozen=True)
class FitOptions:
    """How a run is carried out, which is no part of its recipe.

    Attributes:
        strategy: see `strategies.make`.
        devices: their number; see `strategies.make`.
        precision: see `strategies.make`.
        xla: see `strategies.make`.
        steps_per_call: see `loop.train`; by default what suits the devices.
        require_gpu: whether to refuse to train without a GPU.
        data: see `dataset.batches`.
        resume: whether to continue a run that was stopped, and start it where there is none.
        checkpoint_steps: see `checkpoint.Checkpoints`.
        worker_timeout: seconds that several workers wait for each other at the start.
        overwrite: whether an existing run may be replaced.
    """

    strategy: str = "auto"
    devices: int | None = None
    precision: str = "auto"
    xla: str = "auto"
    steps_per_call: int | None = None
    require_gpu: bool = False
    data: str = "auto"
    resume: bool = False
    checkpoint_steps: int | None = None
    worker_timeout: float = strategies.WORKER_TIMEOUT
    overwrite: bool = False

    def check(self) -> None:
        """Raises UserError unless each option has one of its values."""
        choices = {
            "strategy": strategies.KINDS,
            "precision": strategies.PRECISIONS,
            "xla": strategies.XLA,
            "data": dataset.MODES,
        }
        for name, values in choices.items():
            if getattr(self, name) not in values:
                raise errors.UserError(
                    f"{name}={getattr(self, name)!r}: expected one of {', '.join(values)}."
                )
        for name in ("devices", "steps_per_call", "checkpoint_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise errors.UserError(f"{name}={value!r}: expected at least 1.")

    def arguments(self) -> list[str]:
        """Returns the options that are not the defaults as arguments of the command line.

        `resume` and `overwrite` are left out: they are the caller's.
        """
        arguments: list[str] = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in ("resume", "overwrite") or value == field.default:
                continue
            arguments.append("--" + field.name.replace("_", "-"))
            if value is not True:
                arguments.append(f"{value:g}" if isinstance(value, float) else str(value))
        return arguments

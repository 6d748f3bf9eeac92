"""How a run is carried out, apart from what it trains."""

from __future__ import annotations

import dataclasses

from camformer_tf.training import strategy


@dataclasses.dataclass(frozen=True)
class FitOptions:
    """How a run is carried out, which is no part of what it is.

    kind, devices, precision, xla, require_gpu, timeout: see `strategy.make`. steps_per_call: see
    `loop.train`; by default what suits the devices. data: see `dataset.load`.
    resume: go on with a run that was stopped; start it where there is none. checkpoint_steps: see
    `checkpoint.Checkpoints`. overwrite: whether a run that is there may be replaced.
    """

    kind: str = "auto"
    devices: int | None = None
    precision: str = "auto"
    xla: str = "auto"
    steps_per_call: int | None = None
    require_gpu: bool = False
    timeout: float = strategy.WORKER_TIMEOUT
    data: str = "auto"
    resume: bool = False
    checkpoint_steps: int | None = None
    overwrite: bool = False

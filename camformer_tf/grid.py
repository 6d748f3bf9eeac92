"""The 270 models of the 2025 grid, by their published run IDs, as changes to shipped recipes.

The IDs count through sizes, then encodings, losses, optimizers and schedules. Source:
manuscript_figures/Figure_S4/data/score_board_*.csv, Bornelov-lab/Camformer@feaa529. The grid's
learning rates are not published: its recipes use the 0.001 of the Original, with Lion too.
"""

from __future__ import annotations

import dataclasses
import itertools

from camformer_tf import errors

FOLDER = "grid-270/"  # the start of a name: grid-270/14

# Published word → our word, in the order of the IDs.
_SIZES = {"Large": "large", "Small": "small", "Mini": "mini"}
_ENCODINGS = {
    "onehot": "onehot",
    "onehotWithN": "onehot_n",
    "onehotWithP": "onehot_purine",
    "onehotWithInt": "onehot_integer",
    "onehotWithBoth": "onehot_integer_purine",
}
_LOSSES = {"MSE": "mse", "L1": "l1", "Huber": "huber"}
_OPTIMIZERS = {"AdamW": "adamw", "Lion": "lion"}
_SCHEDULES = {"None": "none", "OneCycleLR": "onecycle", "ReduceLROnPlateau": "plateau"}
_RUNS = list(itertools.product(_SIZES, _ENCODINGS, _LOSSES, _OPTIMIZERS, _SCHEDULES))
RUNS = len(_RUNS)

# Column ModelSize of the tables, by the number of channels.
_CHANNELS = dict(zip(_ENCODINGS, (4, 4, 5, 5, 6), strict=True))
_PARAMETERS = {
    "Large": {4: 16_611_073, 5: 16_616_193, 6: 16_621_313},
    "Small": {4: 3_401_601, 5: 3_402_881, 6: 3_404_161},
    "Mini": {4: 1_444_801, 5: 1_446_721, 6: 1_448_641},
}


@dataclasses.dataclass(frozen=True)
class GridRun:
    """One run of the grid.

    Attributes:
        run_id: the published ID.
        name: the published name.
        base: the shipped recipe with the same network.
        overrides: the values in which the run's recipe differs, such as "train.loss=huber".
    """

    run_id: int
    name: str
    base: str
    overrides: tuple[str, ...]


def run(run_id: int) -> GridRun:
    """Returns the run with an ID from 1 to 270.

    Raises:
        errors.UserError: there is no run with this ID.
    """
    if not 1 <= run_id <= RUNS:
        raise errors.UserError(f"{FOLDER}{run_id}: the grid's run IDs go from 1 to {RUNS}.")
    size, encoding, loss, optimizer, schedule = _RUNS[run_id - 1]
    return GridRun(
        run_id,
        f"{run_id}_{encoding}_{loss}_{optimizer}_{schedule}",
        _SIZES[size],
        (
            f"data.encoding={_ENCODINGS[encoding]}",
            f"train.loss={_LOSSES[loss]}",
            f"train.optimizer={_OPTIMIZERS[optimizer]}",
            f"train.schedule={_SCHEDULES[schedule]}",
            f"expect.parameters={_PARAMETERS[size][_CHANNELS[encoding]]}",
        ),
    )


def parse_name(name: str) -> GridRun | None:
    """Returns the run with the name grid-270/ID; None for a name of another form.

    Raises:
        errors.UserError: the name starts with grid-270/, but no such ID follows.
    """
    if not name.startswith(FOLDER):
        return None
    run_id = name.removeprefix(FOLDER)
    if not (run_id.isascii() and run_id.isdecimal()):
        raise errors.UserError(f"{name}: expected {FOLDER}ID with an ID from 1 to {RUNS}.")
    return run(int(run_id))

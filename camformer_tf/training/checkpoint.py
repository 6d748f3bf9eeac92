"""Where a training stands, kept in a file: a run that is killed goes on as if it had not been."""

from __future__ import annotations

import difflib
import json
import logging
import os
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from camformer_tf import errors
from camformer_tf.training import callbacks, loop

_FILE, _BEFORE = "checkpoint.npz", "checkpoint-before.npz"
_SHARE = 0.01  # of the time that keeping may take within an epoch
_FIRST_COST = 0.6  # seconds, before it is known: what the Original takes
_log = logging.getLogger(__name__)


class Checkpoints:
    """Keeps a training in a folder: every epoch, and within an epoch as often as takes 1 % of the
    time, or every so many steps.

    Kept are all variables of model and optimiser, with the dropout seeds; the callbacks; the
    history; and how far the epoch has come, with its predictions. A file takes its name when it is
    whole, and the one before is kept too.
    """

    def __init__(
        self,
        folder: Path,
        model: keras.Model,
        calls: Sequence[keras.callbacks.Callback],
        facts: dict[str, str],
        *,
        every: int | None = None,
        writes: bool = True,
    ):
        """Args:
        calls: those that are `callbacks.Stateful` are kept.
        facts: what a run that goes on must have in common with the one that began: name → text.
        every: the fewest steps between checkpoints within an epoch; by their cost without it.
        writes: whether this process writes, as one worker of several does; all of them read.
        """
        self._folder, self._model, self._facts = folder, model, facts
        self._calls = [call for call in calls if isinstance(call, callbacks.Stateful)]
        self._every, self._writes = every, writes
        self._cost, self._last, self._step = _FIRST_COST, time.perf_counter(), 0

    def restore(self) -> loop.Progress:
        """Sets model, callbacks and history to the newest whole checkpoint, and returns how far it
        had come: nowhere, if there is none.

        Raises:
            errors.UserError: the checkpoint is of another network.
        """
        path = newest(self._folder)
        if path is None:
            return loop.Progress()
        with np.load(path) as saved:
            head = json.loads(str(saved["head"]))
            if head["paths"] != self._paths():
                raise errors.UserError(f"{path}: is of another network than the recipe's.")
            for i, variable in enumerate(self._variables()):
                variable.assign(saved[f"v{i}"])
            progress = loop.Progress(**head["progress"])
            if progress.step:
                progress.expression = [saved["expression"]]
                progress.prediction = [saved["prediction"]]
        for call in self._calls:
            call.restore(head["callbacks"][type(call).__name__])
        self._model.history.history, self._model.history.epoch = head["history"], head["epochs"]
        self._step = progress.step
        _log.info(f"going on in epoch {progress.epoch + 1} after {progress.step:,} steps")
        return progress

    def after_step(self, progress: loop.Progress) -> None:
        """Keeps the training if it is time to."""
        if self._every and progress.step:
            due = progress.step - self._step >= self._every
        else:
            since = time.perf_counter() - self._last
            due = not progress.step or self._cost < _SHARE * since
        if due:
            self.save(progress)

    def save(self, progress: loop.Progress) -> None:
        """Keeps the training as it stands."""
        if not self._writes:
            return
        start = time.perf_counter()
        self._folder.mkdir(exist_ok=True)
        state = {"epoch": progress.epoch, "step": progress.step, "total": progress.total}
        head = {
            "facts": self._facts,
            "paths": self._paths(),
            "progress": state | {"ended": progress.ended},
            "callbacks": {type(call).__name__: call.state() for call in self._calls},
            "history": self._model.history.history,
            "epochs": self._model.history.epoch,
        }
        arrays = {f"v{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(self._variables())}
        for name in ("expression", "prediction") if progress.step else ():
            parts = getattr(progress, name)
            parts[:] = [np.concatenate(parts)]
            arrays[name] = parts[0]
        temporary, path = self._folder / (_FILE + ".tmp"), self._folder / _FILE
        with temporary.open("wb") as file:
            np.savez(file, head=json.dumps(head), **arrays)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.replace(path, self._folder / _BEFORE)
        os.replace(temporary, path)
        self._last, self._step = time.perf_counter(), progress.step
        self._cost = self._last - start

    def finish(self) -> None:
        """Lets go of the checkpoint before the newest."""
        if self._writes:
            (self._folder / _BEFORE).unlink(missing_ok=True)

    def _variables(self) -> list[keras.Variable]:
        return [*self._model.variables, *self._model.optimizer.variables]

    def _paths(self) -> list[str]:
        """Returns what tells variables apart: of their paths the last part, since Keras numbers
        others through a process.
        """
        return [
            f"{v.path.rpartition('/')[2]} {tuple(v.shape)} {v.dtype}" for v in self._variables()
        ]


def newest(folder: Path) -> Path | None:
    """Returns the newest checkpoint of a folder that can be read, if there is one."""
    for path in (folder / _FILE, folder / _BEFORE):
        try:
            with zipfile.ZipFile(path) as archive:
                broken = archive.testzip()
        except FileNotFoundError:
            continue
        except zipfile.BadZipFile:
            broken = path.name
        if not broken:
            return path
        _log.warning(f"{path}: is damaged; looking for the one before")
    return None


def facts(folder: Path) -> dict[str, str] | None:
    """Returns the facts that the newest checkpoint was kept with, if there is one."""
    path = newest(folder)
    if path is None:
        return None
    with np.load(path) as saved:
        return json.loads(str(saved["head"]))["facts"]


def refuse_other(kept: dict[str, str], ours: dict[str, str], where: Path) -> None:
    """Raises UserError, with the differences, if a run would go on as another one."""
    lines = []
    for name in kept:
        if kept[name] != ours[name]:
            changes = difflib.ndiff(kept[name].splitlines(), ours[name].splitlines())
            lines += [f"  {name}: {line}" for line in changes if line[0] in "-+"]
    if lines:
        raise errors.UserError(
            f"{where}: cannot go on as another run; - is how it began, + is what is asked now:\n"
            + "\n".join(lines)
            + "\nAsk for the same again, or start a run of another name."
        )

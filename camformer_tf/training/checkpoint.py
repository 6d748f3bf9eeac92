"""The state of a training, stored in a file, from which a run that was killed is resumed."""

from __future__ import annotations

import difflib
import json
import logging
import os
import re
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from camformer_tf import errors, wording
from camformer_tf.training import callbacks, loop

_FILE, _PREVIOUS = "checkpoint.npz", "checkpoint-before.npz"
_SHARE = 0.01  # of the time that checkpoints may take within an epoch
_FIRST_COST = 0.6  # seconds, before it is measured: what the Original takes
_log = logging.getLogger(__name__)


class Checkpoints:
    """Stores a training in a folder, after every epoch and within an epoch.

    Within an epoch, as often as takes 1 % of the time, or every so many steps. Stored are all
    variables of model and optimizer, with the dropout seeds; the callbacks; the history; and how
    far the epoch has come, with its predictions. A file takes its name when it is complete, and the
    previous one is kept too.

    Args:
        folder: where the files are written.
        model: with its optimizer.
        calls: the callbacks; those that are `callbacks.Stateful` are stored.
        facts: what a resumed run must have in common with the stored one: name → text.
        interval: the fewest steps between checkpoints within an epoch; None: by their cost.
        writes: whether this process writes, as one worker of several does; all of them read.
    """

    def __init__(
        self,
        folder: Path,
        model: keras.Model,
        calls: Sequence[keras.callbacks.Callback],
        facts: dict[str, str],
        *,
        interval: int | None = None,
        writes: bool = True,
    ) -> None:
        self._folder, self._model, self._facts = folder, model, facts
        self._calls = [call for call in calls if isinstance(call, callbacks.Stateful)]
        self._interval, self._writes = interval, writes
        self._cost, self._last, self._step = _FIRST_COST, time.perf_counter(), 0

    def restore(self) -> loop.EpochProgress:
        """Sets model, callbacks and history to the newest complete checkpoint.

        Returns:
            How far it had come; no step at all if there is no checkpoint.

        Raises:
            errors.UserError: the checkpoint is of another network.
        """
        path = newest(self._folder)
        if path is None:
            return loop.EpochProgress()
        with np.load(path) as arrays:
            head = json.loads(str(arrays["head"]))
            if _without_numbers(head["paths"]) != _without_numbers(self._paths()):
                raise errors.UserError(
                    f"{path}: is of another network than this run's. Train it in another run "
                    "directory, or give the same network again."
                )
            for i, variable in enumerate(self._variables()):
                variable.assign(arrays[f"v{i}"])
            state = head["progress"]
            progress = loop.EpochProgress(
                state["epoch"], state["step"], state["total"], complete=state["ended"]
            )
            if progress.step:
                progress.expression = [arrays["expression"]]  # [(step * B,)]
                progress.prediction = [arrays["prediction"]]
        for call in self._calls:
            call.restore(head["callbacks"][type(call).__name__])
        self._model.history.history, self._model.history.epoch = head["history"], head["epochs"]
        self._step = progress.step
        _log.info(
            f"resuming in epoch {progress.epoch + 1} after {wording.count(progress.step, 'step')}"
        )
        return progress

    def after_step(self, progress: loop.EpochProgress) -> None:
        """Stores the training if it is time to."""
        if self._interval and progress.step:
            due = progress.step - self._step >= self._interval
        else:
            seconds = time.perf_counter() - self._last
            due = not progress.step or self._cost < _SHARE * seconds
        if due:
            self.save(progress)

    def save(self, progress: loop.EpochProgress) -> None:
        """Stores the training as it is now."""
        if not self._writes:
            return
        start = time.perf_counter()
        self._folder.mkdir(exist_ok=True)
        head = {
            "facts": self._facts,
            "paths": self._paths(),
            "progress": {
                "epoch": progress.epoch,
                "step": progress.step,
                "total": progress.total,
                "ended": progress.complete,
            },
            "callbacks": {type(call).__name__: call.state() for call in self._calls},
            "history": self._model.history.history,
            "epochs": self._model.history.epoch,
        }
        arrays = {f"v{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(self._variables())}
        for name in ("expression", "prediction") if progress.step else ():
            parts = getattr(progress, name)
            parts[:] = [np.concatenate(parts)]  # so that the next time copies one array
            arrays[name] = parts[0]
        temporary, path = self._folder / (_FILE + ".tmp"), self._folder / _FILE
        with temporary.open("wb") as file:
            np.savez(file, head=json.dumps(head), **arrays)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.replace(path, self._folder / _PREVIOUS)
        os.replace(temporary, path)
        self._last, self._step = time.perf_counter(), progress.step
        self._cost = self._last - start

    def finish(self) -> None:
        """Removes the checkpoint before the newest."""
        if self._writes:
            (self._folder / _PREVIOUS).unlink(missing_ok=True)

    def _variables(self) -> list[keras.Variable]:
        return [*self._model.variables, *self._model.optimizer.variables]

    def _paths(self) -> list[str]:
        """Returns what distinguishes the variables: the last part of the path, shape and type."""
        return [
            f"{v.path.rpartition('/')[2]} {tuple(v.shape)} {v.dtype}" for v in self._variables()
        ]


def _without_numbers(paths: Sequence[str]) -> list[str]:
    """Returns paths without the numbers of names: a user's unnamed layers get new ones each time.

    An optimizer's variables are named after those of the layers: "conv1d_3_kernel_momentum".
    """
    return [re.sub(r"_\d+(?=[_ ])", "", path) for path in paths]


def newest(folder: Path) -> Path | None:
    """Returns the newest checkpoint of a folder that can be read, if there is one."""
    for path in (folder / _FILE, folder / _PREVIOUS):
        try:
            with zipfile.ZipFile(path) as archive:
                damage = archive.testzip()  # the name of the first damaged part
        except FileNotFoundError:
            continue
        except zipfile.BadZipFile:
            damage = path.name
        if not damage:
            return path
        _log.warning(f"{path}: is damaged; trying the previous checkpoint")
    return None


def facts(folder: Path) -> dict[str, str] | None:
    """Returns the facts that the newest checkpoint was stored with, if there is one."""
    path = newest(folder)
    if path is None:
        return None
    with np.load(path) as arrays:
        return json.loads(str(arrays["head"]))["facts"]


def refuse_other(original: dict[str, str], current: dict[str, str], path: Path) -> None:
    """Raises UserError, with the differences, if a run would be resumed as another one."""
    lines = []
    for name in original:
        if original[name] != current[name]:
            changes = difflib.ndiff(original[name].splitlines(), current[name].splitlines())
            lines += [f"  {name}: {line}" for line in changes if line[0] in "-+"]
    if lines:
        raise errors.UserError(
            f"{path}: cannot be resumed as a different run; - is the existing run, + is this one:\n"
            + "\n".join(lines)
            + "\nPass the same settings again, or choose another run directory."
        )

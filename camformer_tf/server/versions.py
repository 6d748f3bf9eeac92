"""Which versions of an export are served: the newest that loads, and those that labels name."""

from __future__ import annotations

import dataclasses
import gc
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from camformer_tf import errors, exportdir
from camformer_tf.server import models, refusal

_log = logging.getLogger(__name__)

Load = Callable[[Path], models.Version]


@dataclasses.dataclass(frozen=True)
class State:
    """Of a version, in the words of TensorFlow Serving's ModelVersionStatus."""

    state: str
    code: str = "OK"
    message: str = ""


class Versions:
    """The versions of a folder; `poll` is called by one thread, all else by any.

    Args:
        folder: OUT_DIR, with a folder for each version.
        name: the model's.
        labels: other names of versions.
        load: a folder of a version → the version.
        report: told how many loads went well and how many did not: +1 each.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        labels: Mapping[str, int],
        load: Load,
        report: Callable[[bool], None] = lambda well: None,
    ):
        self.folder, self.name, self.labels = folder, name, dict(labels)
        self._load, self._report = load, report
        self._loaded: dict[int, models.Version] = {}  # replaced, never changed: reads need no lock
        self._states: dict[int, State] = {}
        self._broken: dict[int, object] = {}  # what a folder was like when it did not load
        self._polling = threading.Lock()

    @property
    def newest(self) -> int | None:
        return max(self._loaded, default=None)

    def find(self, name: str, number: int | None = None, label: str = "") -> models.Version:
        """Returns the version that a request names, or the newest.

        Raises:
            refusal.Refused: there is none.
        """
        if label:
            number = self.labelled(label)
        loaded = self._loaded
        wanted = max(loaded, default=None) if number is None else number
        if name != self.name or wanted not in loaded:
            asked = f"Latest({name})" if number is None else f"Specific({name}, {number})"
            raise refusal.Refused("NOT_FOUND", f"Servable not found for request: {asked}")
        return loaded[wanted]

    def labelled(self, label: str) -> int:
        if label not in self.labels:
            raise refusal.invalid(f"Unrecognized servable version label: {label}")
        return self.labels[label]

    def states(self, name: str, number: int | None = None) -> dict[int, State]:
        """Returns the state of one version or of all, the newest first.

        Raises:
            refusal.Refused: there is none.
        """
        known = dict(self._states) if name == self.name else {}
        if number is None and not known:
            raise refusal.Refused("NOT_FOUND", f"Could not find any versions of model {name}")
        if number is None:
            return dict(sorted(known.items(), reverse=True))
        if number not in known:
            raise refusal.Refused("NOT_FOUND", f"Could not find version {number} of model {name}")
        return {number: known[number]}

    def poll(self) -> None:
        """Loads what is new, and lets go what is served no longer once the newest is there."""
        with self._polling:
            there = self._there()
            newest = next((n for n in sorted(there, reverse=True) if self._get(n)), None)
            for number in there & set(self.labels.values()):
                self._get(number)
            if newest is None:  # nothing to go on to: what is loaded stays
                return
            wanted = {newest, *self.labels.values()}
            gone = set(self._loaded) - wanted
            self._loaded = {n: version for n, version in self._loaded.items() if n in wanted}
            for number in gone:
                self._states[number] = State("END")
                _log.info("version %d: let go", number)
        if gone:
            gc.collect()  # graphs refer to themselves

    def refuse_missing(self) -> None:
        """Raises UserError unless something is served, and all labels name something."""
        if missing := [f"{n}={v}" for n, v in self.labels.items() if v not in self._loaded]:
            raise errors.UserError(
                f"{self.folder}: no version that loads for --label {', '.join(missing)}."
            )
        if not self._loaded:
            why = "; ".join(
                f"version {number}: {state.message}" for number, state in self._states.items()
            )
            raise errors.UserError(
                f"{self.folder}: {why or 'no folder of a version in it'}. Expected an export, as "
                "`camformer-tf export RUN_DIR OUT_DIR` writes it."
            )

    def _there(self) -> set[int]:
        try:
            found = set(exportdir.versions(self.folder))
        except OSError:
            found = set()
        if self._loaded and not found:
            _log.warning("%s: holds no version any more; what is loaded stays", self.folder)
        return found

    def _get(self, number: int) -> bool:
        """Returns whether a version is loaded, after trying to: a broken one again if changed."""
        if number in self._loaded:
            return True
        folder = self.folder / str(number)
        looks = _looks(folder)
        if self._broken.get(number) == looks:
            return False
        self._states[number] = State("LOADING")
        try:
            version = self._load(folder)
        except Exception as error:  # of any kind: what is served must not end for it
            self._broken[number] = looks
            words = " ".join(str(error).split())[:500] or type(error).__name__
            self._states[number] = State("END", getattr(error, "code", "UNKNOWN"), words)
            _log.error("version %d: cannot be loaded: %s", number, words)
            self._report(False)
            return False
        self._broken.pop(number, None)
        self._loaded = self._loaded | {number: version}
        self._states[number] = State("AVAILABLE")
        _log.info("version %d: loaded", number)
        self._report(True)
        return True


def _looks(folder: Path) -> object:
    """Returns what changes when a folder's files do."""
    try:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    except OSError:
        return None

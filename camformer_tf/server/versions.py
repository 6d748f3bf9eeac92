"""Served versions of an export: the newest that loads, and those that have a label."""

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
class VersionStatus:
    """State of a version, in the words of TensorFlow Serving's ModelVersionStatus."""

    state: str
    code: str = "OK"
    message: str = ""


class Versions:
    """The versions of a folder. One thread calls `poll`; any thread may call the rest.

    Args:
        folder: OUT_DIR, with a folder for each version.
        name: Name of the model.
        labels: Label → version.
        load: Loads the folder of a version.
        on_load: Called after each attempt to load, with whether it succeeded.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        labels: Mapping[str, int],
        load: Load,
        on_load: Callable[[bool], None] = lambda success: None,
    ) -> None:
        self.folder, self.name, self.labels = folder, name, dict(labels)
        self._load, self._on_load = load, on_load
        # Number → version; replaced and never changed, so that reading needs no lock.
        self._available: dict[int, models.Version] = {}
        self._statuses: dict[int, VersionStatus] = {}
        self._failures: dict[int, object] = {}  # number → fingerprint of the folder that failed
        self._lock = threading.Lock()  # of `poll`

    @property
    def newest(self) -> int | None:
        """Number of the newest version that is loaded."""
        return max(self._available, default=None)

    def find(self, name: str, number: int | None = None, label: str = "") -> models.Version:
        """Returns the version that a request names, or the newest.

        Raises:
            refusal.Refusal: There is no such version.
        """
        if label:
            number = self.number_for(label)
        available = self._available
        choice = max(available, default=None) if number is None else number
        if name != self.name or choice is None or choice not in available:
            request = f"Latest({name})" if number is None else f"Specific({name}, {number})"
            raise refusal.Refusal("NOT_FOUND", f"Servable not found for request: {request}")
        return available[choice]

    def number_for(self, label: str) -> int:
        """Returns the number of the version that has a label.

        Raises:
            refusal.Refusal: There is no such label.
        """
        if label not in self.labels:
            raise refusal.invalid(f"Unrecognized servable version label: {label}")
        return self.labels[label]

    def statuses(self, name: str, number: int | None = None) -> dict[int, VersionStatus]:
        """Returns the status of one version or of all, the newest first.

        Raises:
            refusal.Refusal: There is no such version.
        """
        statuses = dict(self._statuses) if name == self.name else {}
        if number is None and not statuses:
            raise refusal.Refusal("NOT_FOUND", f"Could not find any versions of model {name}")
        if number is None:
            return dict(sorted(statuses.items(), reverse=True))
        if number not in statuses:
            raise refusal.Refusal("NOT_FOUND", f"Could not find version {number} of model {name}")
        return {number: statuses[number]}

    def poll(self) -> None:
        """Loads new versions, and unloads old ones once the newest is loaded."""
        with self._lock:
            numbers = self._list_numbers()
            newest = next((n for n in sorted(numbers, reverse=True) if self._try_to_load(n)), None)
            for number in numbers & set(self.labels.values()):
                self._try_to_load(number)
            if newest is None:  # nothing to replace the loaded versions by: they stay
                return
            numbers_to_keep = {newest, *self.labels.values()}
            obsolete = set(self._available) - numbers_to_keep
            self._available = {n: v for n, v in self._available.items() if n in numbers_to_keep}
            for number in obsolete:
                self._statuses[number] = VersionStatus("END")
                _log.info("version %d: unloaded", number)
        if obsolete:
            gc.collect()  # graphs refer to themselves

    def require_available(self) -> None:
        """Raises UserError unless a version is loaded, and that of each label."""
        missing = [f"{n}={v}" for n, v in self.labels.items() if v not in self._available]
        if missing:
            raise errors.UserError(
                f"{self.folder}: --label {', '.join(missing)}: there is no such version, or it "
                "does not load."
            )
        if not self._available:
            reasons = "; ".join(
                f"version {number}: {status.message}" for number, status in self._statuses.items()
            )
            raise errors.UserError(
                f"{self.folder}: {reasons or 'it contains no version'}. Expected an export, as "
                "`camformer-tf export RUN_DIR OUT_DIR` writes it."
            )

    def _list_numbers(self) -> set[int]:
        try:
            numbers = set(exportdir.versions(self.folder))
        except OSError:
            numbers = set()
        if self._available and not numbers:
            _log.warning("%s: no version left in it; the loaded ones stay", self.folder)
        return numbers

    def _try_to_load(self, number: int) -> bool:
        """Returns whether a version is loaded; one that failed is tried again if it changed."""
        if number in self._available:
            return True
        folder = self.folder / str(number)
        fingerprint = _fingerprint(folder)
        if self._failures.get(number) == fingerprint:
            return False
        self._statuses[number] = VersionStatus("LOADING")
        try:
            version = self._load(folder)
        except Exception as error:  # of any type: it must not end the server
            self._failures[number] = fingerprint
            message = " ".join(str(error).split())[:500] or type(error).__name__
            code = getattr(error, "code", "UNKNOWN")
            self._statuses[number] = VersionStatus("END", code, message)
            _log.error("version %d: cannot be loaded: %s", number, message)
            self._on_load(False)
            return False
        self._failures.pop(number, None)
        self._available = self._available | {number: version}
        self._statuses[number] = VersionStatus("AVAILABLE")
        _log.info("version %d: loaded", number)
        self._on_load(True)
        return True


def _fingerprint(folder: Path) -> object:
    """Returns a value that changes when the files of a folder do: paths, sizes, times."""
    try:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    except OSError:
        return None

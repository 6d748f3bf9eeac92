"""Progress of long work: a bar in a terminal or notebook, a log line now and then elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tqdm

Report = Callable[[str, int, int], None]  # stage, sequences so far, sequences in all (0: unknown)

_log = logging.getLogger(__name__)
_SECONDS_BETWEEN_LINES = 30


def silent(stage: str, count: int, total: int) -> None:
    """Reports nothing."""


def auto(report: Report | None = None) -> Report:
    """Returns `report` if there is one; otherwise a bar in a notebook or terminal, else `silent`.

    Public functions call this on their `report` argument, which is None by default.
    """
    if report is not None:
        return report
    return bar() if _in_notebook() or sys.stderr.isatty() else silent


@contextlib.contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Silences TensorFlow's lines about files that it reads and writes, which notebooks show."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)


def bar() -> Report:
    """Returns a report that shows one tqdm bar per stage, with its rate and the time left.

    In a notebook the bar is a widget; elsewhere it is text on standard error.
    """
    return _Bar()


def lines() -> Report:
    """Returns a report that logs a line every 30 seconds."""
    return _Lines()


class _Bar:
    """Draws the bar of the current stage."""

    def __init__(self) -> None:
        self._stage = ""
        self._bar: tqdm.tqdm | None = None

    def __call__(self, stage: str, count: int, total: int) -> None:
        import tqdm.auto  # here, so that `--help` stays fast

        if self._bar is None or stage != self._stage:
            self._close()
            self._stage = stage
            self._bar = tqdm.auto.tqdm(
                desc=stage, total=total or None, unit=" sequences", unit_scale=True, leave=False
            )
        self._bar.update(count - self._bar.n)
        if total and count >= total:
            self._bar.close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.total = None  # a notebook would leave an incomplete bar, in red
            self._bar.close()


class _Lines:
    """Logs the count, rate and time left of the current stage."""

    def __init__(self) -> None:
        self._stage = ""
        self._start, self._start_count = 0.0, 0  # of the stage
        self._last_line = time.monotonic()

    def __call__(self, stage: str, count: int, total: int) -> None:
        second = time.monotonic()
        if stage != self._stage:
            self._stage, self._start, self._start_count = stage, second, count
        elif second - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = second
            rate = (count - self._start_count) / max(second - self._start, 1e-9)
            time_left = f", {(total - count) / rate:,.0f} s left" if total and rate else ""
            total_text = f" of {total:,}" if total else ""
            _log.info(f"{stage}: {count:,}{total_text} sequences, {rate:,.0f}/s{time_left}")


def _in_notebook() -> bool:
    """Returns whether this is a Jupyter kernel, without importing IPython."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config

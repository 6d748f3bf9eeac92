"""How far long work has come: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

Report = Callable[[str, int, int], None]  # stage, sequences done, sequences in all (0: unknown)

_log = logging.getLogger(__name__)
_SECONDS_BETWEEN_LINES = 30


def silent(stage: str, done: int, total: int) -> None:
    """Reports nothing."""


def bar() -> Report:
    """Returns a report as one tqdm bar a stage on standard error, with rate and time left."""
    import tqdm  # here, so that `--help` stays fast

    shown: tuple[str, tqdm.tqdm] | None = None

    def report(stage: str, done: int, total: int) -> None:
        nonlocal shown
        if shown and shown[0] != stage:
            shown[1].close()
        if not shown or shown[0] != stage:
            shown = (
                stage,
                tqdm.tqdm(
                    desc=stage, total=total or None, unit=" sequences", unit_scale=True, leave=False
                ),
            )
        shown[1].update(done - shown[1].n)
        if total and done >= total:
            shown[1].close()

    return report


def lines() -> Report:
    """Returns a report as a logged line every 30 seconds."""
    last, begin, first, current = time.monotonic(), 0.0, 0, ""

    def report(stage: str, done: int, total: int) -> None:
        nonlocal last, begin, first, current
        now = time.monotonic()
        if stage != current:
            begin, first, current = now, done, stage
        elif now - last >= _SECONDS_BETWEEN_LINES:
            last = now
            rate = (done - first) / max(now - begin, 1e-9)
            left = f", {(total - done) / rate:,.0f} s left" if total and rate else ""
            of = f" of {total:,}" if total else ""
            _log.info(f"{stage}: {done:,}{of} sequences, {rate:,.0f}/s{left}")

    return report

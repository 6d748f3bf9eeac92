"""Rows of concurrent requests share calls of the model: a bounded queue and one computing thread.

While a call computes, what arrives waits; the next call takes as much of it as fits. So an idle
model starts at once, and a busy one batches the more, the busier it is.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np

from camformer_tf.server import models, refusal

_log = logging.getLogger(__name__)
_STEPS = 8  # sizes of batches between a power of two and the next

Outcome = models.Arrays | refusal.Refused


@dataclasses.dataclass(eq=False, slots=True)
class _Request:
    version: models.Version  # held, so that it stays loaded
    signature: models.Signature
    inputs: models.Arrays
    rows: int
    answer: asyncio.Future
    since: float
    taken: int = 0
    parts: list[models.Arrays] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class _Part:
    """Rows start to stop of a request, as they go into a call."""

    request: _Request
    start: int
    stop: int

    def inputs(self) -> models.Arrays:
        if not self.request.signature.in_rows:
            return self.request.inputs
        return {name: rows[self.start : self.stop] for name, rows in self.request.inputs.items()}


def padded(rows: int) -> int:
    """Returns the size of the batch for some rows: one of few, since kernels are prepared for each,
    and at most 1/8 larger.
    """
    step = max(1, (1 << (rows - 1).bit_length()) // (2 * _STEPS))
    return -(-rows // step) * step


class Batcher:
    """Made, and asked, in a running event loop.

    Args:
        max_rows: of a call.
        wait: how long a call waits for more rows (seconds).
        max_queue: rows that wait.
        report: told rows and seconds of each call.
    """

    def __init__(
        self,
        max_rows: int,
        max_queue: int,
        wait: float = 0.0,
        report: Callable[[int, float], None] = lambda rows, seconds: None,
    ):
        self.queued = 0  # rows
        self._max_rows, self._max_queue, self._wait, self._report = (
            max_rows,
            max_queue,
            wait,
            report,
        )
        self._loop = asyncio.get_running_loop()
        self._changed = threading.Condition()
        self._closed = False
        # Those that wait, by version, signature and sizes of a row, all in order of their turns.
        self._waiting: dict[tuple, collections.deque[_Request]] = {}
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def submit(
        self, version: models.Version, signature: models.Signature, inputs: models.Arrays
    ) -> asyncio.Future[models.Arrays]:
        """Returns the outputs to come. Who cancels the future takes the request back.

        Raises:
            refusal.Refused: the signature does not take such inputs, or the queue is full; so does
                the future, if the call fails.
        """
        rows = signature.rows(inputs)
        answer = self._loop.create_future()
        if not rows:
            answer.set_result(signature.none())
            return answer
        if rows > self._max_queue:
            raise refusal.invalid(
                f"The request has {rows} rows, more than the {self._max_queue} that may wait. Send "
                "them in several requests."
            )
        request = _Request(version, signature, inputs, rows, answer, time.monotonic())
        sizes = tuple(array.shape[1:] for array in inputs.values())
        key = (version, signature, sizes) if signature.in_rows else (version, signature, request)
        with self._changed:
            if self._closed:
                raise refusal.Refused("UNAVAILABLE", "The server is stopping")
            if self.queued + rows > self._max_queue:
                raise refusal.Refused(
                    "UNAVAILABLE",
                    f"The batch scheduling queue to which this task was submitted is full: "
                    f"{self.queued} of {self._max_queue} rows",
                )
            self.queued += rows
            self._waiting.setdefault(key, collections.deque()).append(request)
            self._changed.notify()
        return answer

    def close(self) -> None:
        """Ends the thread when it has answered what waits."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    # === The computing thread ===

    def _work(self) -> None:
        while parts := self._next():
            outcomes = list(self._compute(parts))
            parts = None  # or the version of the last call would stay
            self._loop.call_soon_threadsafe(_deliver, outcomes)
            outcomes = None

    def _next(self) -> list[_Part]:
        """Waits for the rows of the next call; none if closed and empty."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return []
                self._gather()
                if parts := self._take():
                    return parts

    def _gather(self) -> None:
        """Waits until the next call is full, or its oldest rows have waited long enough."""
        if self._wait:
            requests = next(iter(self._waiting.values()))
            end = requests[0].since + self._wait
            self._changed.wait_for(
                lambda: sum(r.rows - r.taken for r in requests) >= self._max_rows or self._closed,
                timeout=max(0.0, end - time.monotonic()),
            )

    def _take(self) -> list[_Part]:
        """Takes the rows of a call: of each request in turn as many as half a call holds at most,
        so that none waits for a large one to end.
        """
        key = next(iter(self._waiting))
        waiting = self._waiting.pop(key)
        space, parts = self._max_rows, []
        while space and waiting:
            request = waiting.popleft()
            left = request.rows - request.taken
            if request.answer.done():  # taken back
                self.queued -= left
                continue
            count = min(left, space, max(1, self._max_rows // 2))
            parts.append(_Part(request, request.taken, request.taken + count))
            request.taken += count
            space -= count
            self.queued -= count
            if count < left:
                waiting.append(request)
        if waiting:
            self._waiting[key] = waiting
        return parts

    def _compute(self, parts: list[_Part]) -> Iterator[tuple[asyncio.Future, Outcome]]:
        """Yields the outcomes of the requests that are complete with these rows."""
        start = time.perf_counter()
        try:
            outputs = self._call(parts)
        except refusal.Refused as error:
            if len(parts) == 1:
                yield parts[0].request.answer, error.with_traceback(None)  # frames hold versions
                return
            for part in parts:  # one of them is at fault; the others shall not suffer
                yield from self._compute([part])
            return
        except Exception:
            _log.exception("a call of the model failed")
            error = refusal.Refused("INTERNAL", "The model failed; see the server's log")
            yield from ((part.request.answer, error) for part in parts)
            return
        self._report(sum(part.stop - part.start for part in parts), time.perf_counter() - start)
        for part, answer in zip(parts, outputs, strict=True):
            request = part.request
            request.parts.append(answer)
            if part.stop == request.rows:
                yield request.answer, _joined(request.parts)

    def _call(self, parts: list[_Part]) -> list[models.Arrays]:
        """Returns the outputs of each part."""
        signature = parts[0].request.signature
        if not signature.in_rows:
            return [signature.call(parts[0].inputs())]
        inputs = _joined([part.inputs() for part in parts])
        rows = len(next(iter(inputs.values())))
        more = min(padded(rows), max(rows, self._max_rows)) - rows
        if more:
            inputs = {
                name: np.concatenate([array, np.repeat(array[-1:], more, axis=0)])
                for name, array in inputs.items()
            }
        outputs = signature.call(inputs)
        if any(len(array) != rows + more for array in outputs.values()):
            raise refusal.Refused("INTERNAL", "The model returned another number of rows")
        ends = np.cumsum([part.stop - part.start for part in parts])
        return [
            {name: array[end - (part.stop - part.start) : end] for name, array in outputs.items()}
            for part, end in zip(parts, ends, strict=True)
        ]


def _joined(parts: list[models.Arrays]) -> models.Arrays:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _deliver(outcomes: list[tuple[asyncio.Future, Outcome]]) -> None:
    for answer, outcome in outcomes:
        if answer.done():
            continue
        if isinstance(outcome, Exception):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)

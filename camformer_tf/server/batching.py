"""Rows of concurrent requests share calls of the model: a bounded queue and one computing thread.

While a call computes, new requests wait; the next call takes as many of their rows as fit. So an
idle model starts at once, and the batches grow with the load.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np

from camformer_tf.server import models, refusal

_log = logging.getLogger(__name__)
_STEPS = 8  # sizes of batches between a power of two and the next

Outcome = models.Arrays | refusal.Refusal


@dataclasses.dataclass(eq=False, slots=True)
class _PendingRequest:
    version: models.Version  # a reference, so that the version stays loaded
    signature: models.Signature
    inputs: models.Arrays
    rows: int
    future: asyncio.Future[models.Arrays]
    arrival: float
    start: int = 0  # the first row that no call has yet
    outputs: list[models.Arrays] = dataclasses.field(default_factory=list)

    @property
    def remaining(self) -> int:
        """Number of rows that no call has yet."""
        return self.rows - self.start


@dataclasses.dataclass(frozen=True)
class _Slice:
    """Rows start to stop of a request, as they go into a call."""

    request: _PendingRequest
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.stop - self.start

    def inputs(self) -> models.Arrays:
        """Returns the inputs of these rows."""
        if not self.request.signature.has_rows:
            return self.request.inputs
        return {name: rows[self.start : self.stop] for name, rows in self.request.inputs.items()}


def batch_size(rows: int) -> int:
    """Returns the size of the batch for some rows, at most 1/8 larger.

    There are few sizes, since TensorFlow prepares its kernels for each.
    """
    step = max(1, (1 << (rows - 1).bit_length()) // (2 * _STEPS))
    return -(-rows // step) * step


class Batcher:
    """A queue of requests and the thread that computes them. Needs a running event loop.

    Args:
        max_rows: Maximum number of rows in a call.
        max_queue: Maximum number of rows in the queue.
        max_wait: Time that a call waits for more rows, in seconds.
        on_call: Called after each call with its rows and seconds.
    """

    def __init__(
        self,
        max_rows: int,
        max_queue: int,
        max_wait: float = 0.0,
        on_call: Callable[[int, float], None] = lambda rows, seconds: None,
    ) -> None:
        self.queue_rows = 0
        self._max_rows, self._max_queue, self._max_wait = max_rows, max_queue, max_wait
        self._on_call = on_call
        self._loop = asyncio.get_running_loop()
        self._condition = threading.Condition()
        self._closing = False
        # The queues of requests that can share a call (same version, signature and sizes of a
        # row), in the order of their turns.
        self._queues: dict[Hashable, collections.deque[_PendingRequest]] = {}
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def submit(
        self, version: models.Version, signature: models.Signature, inputs: models.Arrays
    ) -> asyncio.Future[models.Arrays]:
        """Puts a request into the queue.

        Returns:
            A future of the outputs. It fails with a refusal if the model refuses the inputs.
            Cancelling it takes the request out of the queue.

        Raises:
            refusal.Refusal: The signature does not take such inputs, or the queue is full.
        """
        rows = signature.count_rows(inputs)
        future: asyncio.Future[models.Arrays] = self._loop.create_future()
        if not rows:
            future.set_result(signature.empty_outputs())
            return future
        if rows > self._max_queue:
            raise refusal.invalid(
                f"The request has {rows} rows, more than the {self._max_queue} that fit into the "
                "queue. Split it into several requests."
            )
        request = _PendingRequest(version, signature, inputs, rows, future, time.monotonic())
        sizes = tuple(array.shape[1:] for array in inputs.values())
        key = (version, signature, sizes) if signature.has_rows else (version, signature, request)
        with self._condition:
            if self._closing:
                raise refusal.Refusal("UNAVAILABLE", "The server is stopping")
            if self.queue_rows + rows > self._max_queue:
                # Source of the words before the colon: shared_batch_scheduler.h, TensorFlow
                raise refusal.Refusal(
                    "UNAVAILABLE",
                    f"The batch scheduling queue to which this task was submitted is full: "
                    f"{self.queue_rows} of {self._max_queue} rows",
                )
            self.queue_rows += rows
            self._queues.setdefault(key, collections.deque()).append(request)
            self._condition.notify()
        return future

    def close(self) -> None:
        """Ends the thread once it has computed what is in the queue."""
        with self._condition:
            self._closing = True
            self._condition.notify()

    # === The computing thread ===

    def _work(self) -> None:
        while slices := self._next_call():
            outcomes = list(self._compute(slices))
            del slices  # or the version of the last call would stay loaded
            self._loop.call_soon_threadsafe(_deliver, outcomes)
            del outcomes

    def _next_call(self) -> list[_Slice]:
        """Waits for the rows of the next call; returns none if closed and empty."""
        with self._condition:
            while True:
                self._condition.wait_for(lambda: self._queues or self._closing)
                if not self._queues:
                    return []
                self._wait_for_rows()
                if slices := self._take_rows():
                    return slices

    def _wait_for_rows(self) -> None:
        """Waits until the next call is full, or its oldest rows have waited long enough."""
        if self._max_wait:
            queue = next(iter(self._queues.values()))
            end = queue[0].arrival + self._max_wait
            self._condition.wait_for(
                lambda: sum(r.remaining for r in queue) >= self._max_rows or self._closing,
                timeout=max(0.0, end - time.monotonic()),
            )

    def _take_rows(self) -> list[_Slice]:
        """Takes the rows of a call from the queue.

        A request gives at most half a call at once, so that none waits for a large one to end.
        """
        key = next(iter(self._queues))
        queue = self._queues.pop(key)
        space, slices = self._max_rows, []
        while space and queue:
            request = queue.popleft()
            remaining = request.remaining
            if request.future.done():  # cancelled
                self.queue_rows -= remaining
                continue
            count = min(remaining, space, max(1, self._max_rows // 2))
            slices.append(_Slice(request, request.start, request.start + count))
            request.start += count
            space -= count
            self.queue_rows -= count
            if count < remaining:
                queue.append(request)
        if queue:
            self._queues[key] = queue  # at the end: the other queues have their turn first
        return slices

    def _compute(self, slices: Sequence[_Slice]) -> Iterator[tuple[asyncio.Future, Outcome]]:
        """Yields the outcomes of the requests that are complete with these rows."""
        start = time.perf_counter()
        try:
            outputs = self._call(slices)
        except refusal.Refusal as error:
            if len(slices) == 1:
                # without the traceback, whose frames refer to versions
                yield slices[0].request.future, error.with_traceback(None)
                return
            for piece in slices:  # again one by one, so that only the one at fault fails
                yield from self._compute([piece])
            return
        except Exception:
            _log.exception("a call of the model failed")
            failure = refusal.Refusal("INTERNAL", "The model failed; see the server's log")
            yield from ((piece.request.future, failure) for piece in slices)
            return
        self._on_call(sum(piece.rows for piece in slices), time.perf_counter() - start)
        for piece, arrays in zip(slices, outputs, strict=True):
            request = piece.request
            request.outputs.append(arrays)
            if piece.stop == request.rows:  # its last rows
                yield request.future, _concatenate(request.outputs)

    def _call(self, slices: Sequence[_Slice]) -> list[models.Arrays]:
        """Returns the outputs of each slice."""
        signature = slices[0].request.signature
        if not signature.has_rows:
            return [signature.call(slices[0].inputs())]
        inputs = _concatenate([piece.inputs() for piece in slices])  # each (rows, …)
        rows = len(next(iter(inputs.values())))
        padding = min(batch_size(rows), max(rows, self._max_rows)) - rows
        if padding:
            inputs = {
                name: np.concatenate([array, np.repeat(array[-1:], padding, axis=0)])
                for name, array in inputs.items()
            }  # each (rows + padding, …)
        outputs = signature.call(inputs)  # each (rows + padding, …)
        if any(len(array) != rows + padding for array in outputs.values()):
            raise refusal.Refusal(
                "INTERNAL", "The model returned another number of rows than it was given"
            )
        stops = np.cumsum([piece.rows for piece in slices])  # (slices,)
        return [
            {name: array[stop - piece.rows : stop] for name, array in outputs.items()}
            for piece, stop in zip(slices, stops, strict=True)
        ]


def _concatenate(arrays: Sequence[models.Arrays]) -> models.Arrays:
    if len(arrays) == 1:
        return arrays[0]
    return {name: np.concatenate([rows[name] for rows in arrays]) for name in arrays[0]}


def _deliver(outcomes: Sequence[tuple[asyncio.Future, Outcome]]) -> None:
    for future, outcome in outcomes:
        if future.done():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

"""What REST and gRPC share: the served versions, the queue before them, and who still waits."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable

from camformer_tf.server import batching, counters, models, options, refusal, versions

_PATIENCE = 0.1  # seconds before it is worth asking whether the client is still there


class Gone(Exception):
    """The client went away."""


@dataclasses.dataclass
class Service:
    """A server from within.

    Args:
        open: requests that are being answered.
        ready: whether a version is loaded.
        stopping: whether new requests are refused.
    """

    options: options.ServerOptions
    versions: versions.Versions
    batcher: batching.Batcher
    metrics: counters.Metrics
    open: int = 0
    ready: bool = False
    stopping: bool = False

    def refuse_unless_open(self) -> None:
        if self.stopping or not self.ready:
            state = "stopping" if self.stopping else "loading"
            raise refusal.Refused("UNAVAILABLE", f"The server is {state}")

    async def outputs(
        self,
        answer: asyncio.Future[models.Arrays],
        seconds: float,
        leaves: Callable[[], Awaitable] | None = None,
    ) -> models.Arrays:
        """Waits for what `Batcher.submit` promised, and takes the request back if nobody does.

        Args:
            seconds: how long.
            leaves: returns when the client goes away.

        Raises:
            refusal.Refused: the model refused, or it took too long.
            Gone: the client went away.
        """
        loop = asyncio.get_running_loop()
        late = refusal.Refused("DEADLINE_EXCEEDED", f"No answer within {seconds:g} s")
        timers, watcher = [loop.call_later(seconds, _end, answer, late)], None

        async def watch() -> None:
            await leaves()
            _end(answer, Gone())

        def start() -> None:
            nonlocal watcher
            watcher = loop.create_task(watch())

        if leaves:
            timers.append(loop.call_later(_PATIENCE, start))
        try:
            return await answer
        finally:
            answer.cancel()  # does nothing to one that is done
            for timer in timers:
                timer.cancel()
            if watcher:
                watcher.cancel()


def _end(answer: asyncio.Future, error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)


def status_json(states: dict[int, versions.State]) -> dict:
    """Returns tensorflow.serving.GetModelStatusResponse as TensorFlow Serving writes it in JSON."""
    return {
        "model_version_status": [
            {
                "version": str(number),
                "state": state.state,
                "status": {"error_code": state.code, "error_message": state.message},
            }
            for number, state in states.items()
        ]
    }

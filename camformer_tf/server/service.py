"""What REST and gRPC share: the served versions, the queue, and the wait for an answer."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping

from camformer_tf.server import batching, counters, models, options, refusal, versions

_PATIENCE = 0.1  # seconds before it is worth watching whether the client is still connected


class ClientDisconnect(Exception):
    """The client has closed the connection."""


@dataclasses.dataclass
class Service:
    """State of a running server.

    Args:
        options: Options of the server.
        versions: Loaded versions.
        batcher: Queue before the model.
        counters: Counters for Prometheus.
        open_requests: Number of requests that are being answered.
        ready: Whether a version is loaded.
        stopping: Whether new requests are refused.
    """

    options: options.ServerOptions
    versions: versions.Versions
    batcher: batching.Batcher
    counters: counters.Counters
    open_requests: int = 0
    ready: bool = False
    stopping: bool = False

    @property
    def state(self) -> str:
        """Returns "ok", "loading" or "stopping"."""
        return "stopping" if self.stopping else "ok" if self.ready else "loading"

    def require_ready(self) -> None:
        """Raises refusal.Refusal unless requests can be answered."""
        if self.state != "ok":
            raise refusal.Refusal("UNAVAILABLE", f"The server is {self.state}")

    async def wait(
        self,
        future: asyncio.Future[models.Arrays],
        timeout: float,
        disconnect: Callable[[], Awaitable[None]] | None = None,
    ) -> models.Arrays:
        """Waits for outputs; cancels the request if they are late or the client has gone.

        Args:
            future: Outputs, as `Batcher.submit` returns them.
            timeout: Time limit in seconds.
            disconnect: Returns when the client disconnects.

        Raises:
            refusal.Refusal: The model refused the request, or it took too long.
            ClientDisconnect: The client disconnected.
        """
        loop = asyncio.get_running_loop()
        late = refusal.Refusal("DEADLINE_EXCEEDED", f"No answer within {timeout:g} s")
        timers = [loop.call_later(timeout, _fail, future, late)]
        watcher = None if disconnect is None else _Watcher(future, disconnect)
        if watcher:  # a task only for slow answers: it would cost as much as a small request
            timers.append(loop.call_later(_PATIENCE, watcher.start))
        try:
            return await future
        finally:
            future.cancel()  # without effect on a future that is done
            for timer in timers:
                timer.cancel()
            if watcher:
                watcher.stop()


class _Watcher:
    """Fails a future when a client disconnects."""

    def __init__(
        self, future: asyncio.Future[models.Arrays], disconnect: Callable[[], Awaitable[None]]
    ) -> None:
        self._future, self._disconnect = future, disconnect
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts to watch."""
        self._task = asyncio.get_running_loop().create_task(self._watch())

    def stop(self) -> None:
        """Ends the watch."""
        if self._task:
            self._task.cancel()

    async def _watch(self) -> None:
        await self._disconnect()
        _fail(self._future, ClientDisconnect())


def _fail(future: asyncio.Future, error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def status_json(statuses: Mapping[int, versions.VersionStatus]) -> dict:
    """Returns tensorflow.serving.GetModelStatusResponse as TensorFlow Serving writes it in JSON."""
    return {
        "model_version_status": [
            {
                "version": str(number),
                "state": status.state,
                "status": {"error_code": status.code, "error_message": status.message},
            }
            for number, status in statuses.items()
        ]
    }

"""The embedded server: a thread that loads an export and answers over HTTP and gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camformer_tf import errors
from camformer_tf.server import batching, counters, listener, models, versions
from camformer_tf.server import options as server_options
from camformer_tf.server import service as services

if TYPE_CHECKING:
    import uvicorn

_log = logging.getLogger(__name__)
_FAREWELL = 0.25  # seconds in which clients with open connections get a 503 that closes them
_TICK = 0.02
_DEFAULT = server_options.ServerOptions()


@contextlib.contextmanager
def serve(
    export_dir: str | os.PathLike[str],
    *,
    host: str = _DEFAULT.host,
    port: int = _DEFAULT.port,
    grpc_port: int | None = _DEFAULT.grpc_port,
    name: str = _DEFAULT.name,
    labels: Mapping[str, int] | None = None,
    max_batch_size: int = _DEFAULT.max_batch_size,
    batch_timeout_ms: float = _DEFAULT.batch_timeout_ms,
    max_queue: int = _DEFAULT.max_queue,
    max_request_bytes: int = _DEFAULT.max_request_bytes,
    timeout: float = _DEFAULT.timeout,
    poll: float = _DEFAULT.poll,
    cors: str | None = _DEFAULT.cors,
) -> Iterator[Server]:
    """Serves an export, in a thread of its own, until the end of the `with` block.

    The block begins once the newest version is loaded. At its end the server takes no new requests,
    answers those that it has, and stops.

    ```python
    with camformer_tf.serve("exports/mini", port=0) as server:
        print(server.url)
    ```

    Args:
        export_dir: Export, as `camformer_tf.export` writes it, with a folder for each version.
        host: Address to listen on; "0.0.0.0" accepts other machines.
        port: Port of REST and of the page; 0 takes a free one.
        grpc_port: Port of gRPC; 0 takes a free one, None turns gRPC off.
        name: Name of the model in URLs.
        labels: Label → version; a labelled version stays loaded beside the newest.
        max_batch_size: Maximum number of sequences in one call of the model.
        batch_timeout_ms: Time that a call waits for more sequences, in milliseconds.
        max_queue: Maximum number of sequences in the queue; more are refused with 503.
        max_request_bytes: Maximum size of a request.
        timeout: Time limit of a request, and of stopping, in seconds.
        poll: Time between two looks for new versions, in seconds.
        cors: Origin whose pages may read the answers in a browser; "*" for any.

    Yields:
        The running server, with its addresses.

    Raises:
        errors.UserError: No version loads, a port is in use, or a package is missing.
    """
    options = server_options.ServerOptions(
        host=host, port=port, grpc_port=grpc_port, name=name, labels=dict(labels or {}),
        max_batch_size=max_batch_size, batch_timeout_ms=batch_timeout_ms, max_queue=max_queue,
        max_request_bytes=max_request_bytes, timeout=timeout, poll=poll, cors=cors,
    )  # fmt: skip
    server = Server(Path(export_dir), options)
    try:
        server._start()
        yield server
    finally:
        server._end()
    server._raise_failure()


class Server:
    """A running server.

    Attributes:
        url: Address of REST and of the page, such as "http://127.0.0.1:8501".
        grpc: Address of gRPC, HOST:PORT; None without gRPC.
    """

    url: str
    grpc: str | None = None

    def __init__(self, export_dir: Path, options: server_options.ServerOptions) -> None:
        self._export_dir, self._options = export_dir, options
        self._thread = threading.Thread(target=self._work, name="server")
        self._stop: Callable[[], object] | None = None
        self._failure: BaseException | None = None
        self._has_loop, self._ready = threading.Event(), threading.Event()
        self._stopping = threading.Event()  # a signal has arrived, or the thread has ended
        self._handlers: dict[int, Any] = {}  # signal → the handler that it had before

    def __repr__(self) -> str:
        return f"Server(url={self.url!r}, grpc={self.grpc!r})"

    def catch_signals(self) -> None:
        """Makes SIGTERM and SIGINT end `wait`, not the program, until the server has stopped.

        Must be called in the main thread.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            self._handlers[number] = signal.signal(number, lambda *_: self._stopping.set())

    def wait(self) -> None:
        """Blocks until a signal arrives that `catch_signals` catches, or the server fails."""
        self._stopping.wait()

    # === The thread ===

    def _start(self) -> None:
        """Starts the thread, and returns once a version is served."""
        self._thread.start()
        self._ready.wait()
        self._raise_failure()

    def _end(self) -> None:
        """Stops the server, and returns once the thread has ended."""
        self._has_loop.wait()
        if self._stop:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._stop()
        self._thread.join()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _raise_failure(self) -> None:
        if self._failure:
            raise self._failure

    def _work(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # of any type: it is raised in the thread that waits
            self._failure = error
        finally:
            for event in (self._has_loop, self._ready, self._stopping):
                event.set()

    async def _main(self) -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        self._stop = functools.partial(loop.call_soon_threadsafe, stop.set)
        self._has_loop.set()

        def announce(url: str, grpc: str | None) -> None:
            self.url, self.grpc = url, grpc
            self._ready.set()

        await _serve(self._export_dir, self._options, stop, announce)


# === From start to stop ===


async def _serve(
    export_dir: Path,
    options: server_options.ServerOptions,
    stop: asyncio.Event,
    announce: Callable[[str, str | None], None],
) -> None:
    """Serves until `stop` is set; calls `announce` with the addresses of REST and gRPC."""
    service = _service(export_dir, options)
    try:
        http_server, sock = listener.listen(service)
    except errors.UserError:
        service.batcher.close()
        raise
    task = asyncio.create_task(http_server.serve(sockets=[sock]))
    grpc_server = None
    try:
        while not (http_server.started or task.done()):
            await asyncio.sleep(_TICK)
        host = f"[{options.host}]" if ":" in options.host else options.host
        grpc_address = None
        if options.grpc_port is not None:
            from camformer_tf.server import grpc

            grpc_server, port = await grpc.start(service)
            grpc_address = f"{host}:{port}"
        await asyncio.to_thread(service.versions.poll)
        service.versions.require_available()
        service.ready = True
        announce(f"http://{host}:{sock.getsockname()[1]}", grpc_address)
        await _poll_until(stop, task, service)
    finally:
        await _drain(service, http_server, task, grpc_server)


async def _poll_until(stop: asyncio.Event, task: asyncio.Task, service: services.Service) -> None:
    """Looks for new versions until `stop` is set or the task is done."""
    stop_task = asyncio.create_task(stop.wait())
    while not (stop.is_set() or task.done()):
        await asyncio.wait(
            [stop_task, task], timeout=service.options.poll, return_when=asyncio.FIRST_COMPLETED
        )
        if not stop.is_set():
            await asyncio.to_thread(service.versions.poll)
    stop_task.cancel()


async def _drain(
    service: services.Service, http_server: uvicorn.Server, task: asyncio.Task, grpc_server: Any
) -> None:
    """Refuses new requests, waits until all are answered or the time is up, and closes."""
    start = time.monotonic()
    end = start + service.options.timeout
    service.stopping = True
    for asyncio_server in getattr(http_server, "servers", ()):
        asyncio_server.close()
    grpc_stop = grpc_server and asyncio.create_task(grpc_server.stop(service.options.timeout))
    # Clients with open connections may be writing: they get a 503 that closes the connection.
    while time.monotonic() < end and (
        service.open_requests or time.monotonic() < start + _FAREWELL
    ):
        await asyncio.sleep(_TICK)
    if service.open_requests:
        _log.warning("stopped with %d requests unanswered", service.open_requests)
    http_server.should_exit = True
    await asyncio.wait([task])
    if grpc_stop:
        await grpc_stop
    service.batcher.close()
    task.result()


def _service(export_dir: Path, options: server_options.ServerOptions) -> services.Service:
    if not export_dir.is_dir():
        raise errors.UserError(f"{export_dir}: no such folder. Expected an export.")
    try:
        counts = counters.Counters()
    except ImportError as error:
        raise listener.missing_package(error) from error
    warm_up_rows = (1, options.max_batch_size) if options.max_batch_size > 1 else (1,)
    served_versions = versions.Versions(
        export_dir,
        options.name,
        options.labels,
        functools.partial(models.load, warm_up_rows=warm_up_rows),
        counts.count_load,
    )
    batcher = batching.Batcher(
        options.max_batch_size,
        options.max_queue,
        options.batch_timeout_ms / 1000,
        counts.count_call,
    )
    counts.watch(lambda: batcher.queue_rows, lambda: served_versions.newest or 0)
    return services.Service(options, served_versions, batcher, counts)

"""The embedded server: one process that loads an export and answers over HTTP and gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from camformer_tf import errors
from camformer_tf.server import batching, counters, models, service, versions
from camformer_tf.server import options as options_module

_log = logging.getLogger(__name__)
_HEAD_BYTES = 64 * 2**10
_KEEP_ALIVE = 75  # seconds that a connection may be idle
_LAST_WORDS = 0.25  # seconds in which clients of open connections learn that they are closed
_TICK = 0.02

ServerOptions = options_module.ServerOptions


@dataclasses.dataclass(frozen=True)
class Addresses:
    """Where a server listens: http is a URL; grpc is HOST:PORT, or None."""

    http: str
    grpc: str | None


def run(export_dir: Path, options: ServerOptions, ready: Callable[[Addresses], None]) -> None:
    """Serves until SIGTERM or SIGINT, then answers what it has taken, and returns.

    Args:
        ready: told once the newest version is loaded.

    Raises:
        errors.UserError: nothing there that loads, a port that is taken, or a package that lacks.
    """

    async def main() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()

        def caught(addresses: Addresses) -> None:
            for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn's own would not drain
                loop.add_signal_handler(number, stop.set)
            ready(addresses)

        await serve(export_dir, options, stop, caught)

    asyncio.run(main())


@contextlib.contextmanager
def background(export_dir: Path, options: ServerOptions) -> Iterator[Addresses]:
    """Serves from a thread for as long as the block takes. Errors as of `run`."""
    told, failed, stops = threading.Event(), [], []
    found: list[Addresses] = []

    async def main() -> None:
        stop = asyncio.Event()
        stops.append(functools.partial(asyncio.get_running_loop().call_soon_threadsafe, stop.set))

        def ready(addresses: Addresses) -> None:
            found.append(addresses)
            told.set()

        await serve(export_dir, options, stop, ready)

    def work() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failed.append(error)
        finally:
            told.set()

    thread = threading.Thread(target=work, name="server")
    thread.start()
    told.wait()
    try:
        if failed:
            raise failed[0]
        yield found[0]
    finally:
        with contextlib.suppress(RuntimeError):  # its loop has ended
            stops[0]()
        thread.join()
    if failed:
        raise failed[0]


async def serve(
    export_dir: Path,
    options: ServerOptions,
    stop: asyncio.Event,
    ready: Callable[[Addresses], None],
) -> None:
    """Serves until `stop` is set. Errors as of `run`."""
    of = _service(export_dir, options)
    http, sock = _http(of)
    task = asyncio.create_task(http.serve(sockets=[sock]))
    rpc = None
    try:
        while not (http.started or task.done()):
            await asyncio.sleep(_TICK)
        shown = f"[{options.host}]" if ":" in options.host else options.host
        grpc_address = None
        if options.grpc_port is not None:
            from camformer_tf.server import grpc

            rpc, port = await grpc.start(of)
            grpc_address = f"{shown}:{port}"
        await asyncio.to_thread(of.versions.poll)
        of.versions.refuse_missing()
        of.ready = True
        ready(Addresses(f"http://{shown}:{sock.getsockname()[1]}", grpc_address))
        await _until(stop, task, of)
    finally:
        await _stop(of, http, task, rpc)


async def _until(stop: asyncio.Event, task: asyncio.Task, of: service.Service) -> None:
    """Looks for new versions until it is time to stop."""
    stopped = asyncio.create_task(stop.wait())
    while not (stop.is_set() or task.done()):
        await asyncio.wait(
            [stopped, task], timeout=of.options.poll, return_when=asyncio.FIRST_COMPLETED
        )
        if not stop.is_set():
            await asyncio.to_thread(of.versions.poll)
    stopped.cancel()


async def _stop(of: service.Service, http, task: asyncio.Task, rpc) -> None:
    """Takes nothing new, waits until everything is answered or the time is up, and closes."""
    start = time.monotonic()
    end = start + of.options.timeout
    of.stopping = True
    for listening in getattr(http, "servers", ()):
        listening.close()
    hang_up = rpc and asyncio.create_task(rpc.stop(of.options.timeout))
    # Clients with open connections may be writing: they get a 503 that closes the connection.
    while time.monotonic() < end and (of.open or time.monotonic() < start + _LAST_WORDS):
        await asyncio.sleep(_TICK)
    if of.open:
        _log.warning("stopped with %d requests unanswered", of.open)
    http.should_exit = True
    await asyncio.wait([task])
    if hang_up:
        await hang_up
    of.batcher.close()
    task.result()


def _service(export_dir: Path, options: ServerOptions) -> service.Service:
    if not export_dir.is_dir():
        raise errors.UserError(f"{export_dir}: no such folder. Expected an export.")
    try:
        counted = counters.make()
    except ImportError as error:
        raise _lacking(error) from error
    sizes = (1, options.max_batch_size) if options.max_batch_size > 1 else (1,)
    found = versions.Versions(
        export_dir,
        options.name,
        options.labels,
        functools.partial(models.load, warm_up_rows=sizes),
        counted.load,
    )
    batcher = batching.Batcher(
        options.max_batch_size, options.max_queue, options.batch_timeout, counted.call
    )
    counted.watch(lambda: batcher.queued, lambda: found.newest or 0)
    return service.Service(options, found, batcher, counted)


def _http(of: service.Service):
    """Returns uvicorn's server, and the socket that it is to listen on.

    Raises:
        errors.UserError: the port is taken, or packages lack.
    """
    from camformer_tf.server import rest

    try:
        import uvicorn

        config = uvicorn.Config(
            rest.app(of), http=_protocol(of.options.timeout), ws="none", lifespan="off",
            log_config=None, log_level="error", access_log=False, server_header=False,
            timeout_keep_alive=_KEEP_ALIVE, timeout_graceful_shutdown=1,
        )  # fmt: skip
    except ImportError as error:
        raise _lacking(error) from error
    family = socket.AF_INET6 if ":" in of.options.host else socket.AF_INET
    sock = socket.socket(
        family, socket.SOCK_STREAM, socket.IPPROTO_TCP
    )  # or asyncio keeps Nagle's delay
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((of.options.host, of.options.port))
    except OSError as error:
        sock.close()
        raise errors.UserError(
            f"{of.options.host}:{of.options.port}: {error.strerror}. Choose another --host or "
            "--port; 0 takes a free one."
        ) from error
    return uvicorn.Server(config), sock


def _protocol(seconds: float):
    """Returns uvicorn's protocol, but with an end to heads of requests that take forever, in time
    or in bytes.
    """
    from uvicorn.protocols.http import httptools_impl

    class Protocol(httptools_impl.HttpToolsProtocol):
        _late, _head = None, 0

        def connection_made(self, transport):
            super().connection_made(transport)
            self._expect()

        def connection_lost(self, exception):
            self._late.cancel()
            super().connection_lost(exception)

        def on_message_begin(self):
            self._expect()
            super().on_message_begin()

        def on_headers_complete(self):
            self._late.cancel()
            self._late_is_over = True
            super().on_headers_complete()

        def data_received(self, data):
            self._head += len(data)
            super().data_received(data)
            if not self._late_is_over and self._head > _HEAD_BYTES:
                self.transport.close()

        def _expect(self):
            if self._late:
                self._late.cancel()
            self._head, self._late_is_over = 0, False
            self._late = self.loop.call_later(seconds, self.transport.close)

    return Protocol


def _lacking(error: ImportError) -> errors.UserError:
    return errors.UserError(
        f'Serving needs {error.name or "more packages"}: pip install "camformer-tf[serve]".'
    )

"""The HTTP server below the application: uvicorn on one socket, with limits on request heads."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from camformer_tf import errors
from camformer_tf.server import rest
from camformer_tf.server import service as services

if TYPE_CHECKING:
    import uvicorn

_HEAD_BYTES = 64 * 2**10
_KEEP_ALIVE = 75  # seconds that a connection may be idle


def listen(service: services.Service) -> tuple[uvicorn.Server, socket.socket]:
    """Returns an HTTP server that is not started yet, and the socket for it to listen on.

    Raises:
        errors.UserError: The port is in use, or packages are missing.
    """
    try:
        import uvicorn

        config = uvicorn.Config(
            rest.app(service), http=_protocol(service.options.timeout), ws="none", lifespan="off",
            log_config=None, log_level="error", access_log=False, server_header=False,
            timeout_keep_alive=_KEEP_ALIVE, timeout_graceful_shutdown=1,
        )  # fmt: skip
    except ImportError as error:
        raise missing_package(error) from error
    return uvicorn.Server(config), _bind(service.options.host, service.options.port)


def missing_package(error: ImportError) -> errors.UserError:
    """Returns the error that says what to install."""
    return errors.UserError(
        f'Serving needs {error.name or "more packages"}: pip install "camformer-tf[serve]".'
    )


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, or asyncio would leave Nagle's delay on.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise errors.UserError(
            f"{host}:{port}: {error.strerror}. Choose another --host or --port; 0 takes a free one."
        ) from error
    return sock


def _protocol(timeout: float) -> type[asyncio.Protocol]:
    """Returns uvicorn's protocol, but with limits on the head of a request.

    A connection is closed whose head does not end within `timeout` seconds or `_HEAD_BYTES`.
    """
    from uvicorn.protocols.http import httptools_impl

    class LimitedProtocol(httptools_impl.HttpToolsProtocol):
        _timer: asyncio.TimerHandle
        _head_bytes = 0
        _in_head = True

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._start_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._timer.cancel()
            super().connection_lost(exc)

        def on_message_begin(self) -> None:
            self._timer.cancel()
            self._start_head()
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._timer.cancel()
            self._in_head = False
            super().on_headers_complete()

        def data_received(self, data: bytes) -> None:
            self._head_bytes += len(data)
            super().data_received(data)
            if self._in_head and self._head_bytes > _HEAD_BYTES:
                self.transport.close()

        def _start_head(self) -> None:
            self._head_bytes, self._in_head = 0, True
            self._timer = self.loop.call_later(timeout, self.transport.close)

    return LimitedProtocol

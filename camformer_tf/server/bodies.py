"""Bodies of HTTP requests: read within limits of time and size, and decompressed."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from camformer_tf.server import refusal, service

Message = MutableMapping[str, Any]  # of ASGI
Receive = Callable[[], Awaitable[Message]]


async def read(
    receive: Receive, headers: Mapping[bytes, bytes], *, limit: int, timeout: float
) -> bytes:
    """Returns the body of a request.

    A body that is too large is read to its end and thrown away, up to four times the limit: a
    client that still writes would not see the answer.

    Args:
        receive: Returns the next message of the client (ASGI).
        headers: Names in lower case → values.
        limit: Maximum size in bytes, also after decompression.
        timeout: Time limit in seconds.

    Raises:
        refusal.Refusal: Too large, too slow, or in an encoding other than gzip.
        service.ClientDisconnect: The client disconnected.
    """
    parts, size, more_body = [], 0, True
    try:
        async with asyncio.timeout(timeout):
            while more_body and size <= 4 * limit:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise service.ClientDisconnect
                part, more_body = message.get("body", b""), message.get("more_body", False)
                size += len(part)
                if size <= limit:
                    parts.append(part)
    except TimeoutError:
        raise refusal.Refusal(
            "DEADLINE_EXCEEDED", f"The request did not arrive within {timeout:g} s", 408
        ) from None
    if size > limit:
        raise _too_large(limit)
    return _decode(b"".join(parts), headers, limit)


def _decode(body: bytes, headers: Mapping[bytes, bytes], limit: int) -> bytes:
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding == b"identity":
        return body
    if encoding not in (b"gzip", b"x-gzip"):
        name = encoding.decode("latin-1")[:40]
        raise refusal.Refusal(
            "INVALID_ARGUMENT", f"Content-Encoding {name}: expected gzip or none", 415
        )
    stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        plain = stream.decompress(body, limit + 1)  # no more: a small body may stand for a huge one
    except zlib.error as error:
        raise refusal.invalid(f"The body is not gzip: {error}") from None
    if len(plain) > limit:
        raise _too_large(limit)
    if not stream.eof:
        raise refusal.invalid("The body is not gzip: it ends too early")
    return plain


def _too_large(limit: int) -> refusal.Refusal:
    return refusal.Refusal(
        "INVALID_ARGUMENT",
        f"The request is larger than {limit} bytes. Split it into several requests",
        413,
    )


async def disconnect(receive: Receive) -> None:
    """Returns when the client disconnects."""
    while (await receive())["type"] != "http.disconnect":
        pass

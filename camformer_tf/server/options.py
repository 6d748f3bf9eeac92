"""Options of the embedded server, with their defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class ServerOptions:
    """Options of the embedded server. A row is one sequence of a request.

    Args:
        host: Address to listen on.
        port: Port of HTTP; 0 takes a free one.
        grpc_port: Port of gRPC; 0 takes a free one, None turns gRPC off.
        name: Name of the model in URLs and messages.
        labels: Label → version; a labelled version stays loaded beside the newest.
        max_batch_size: Maximum number of rows in one call of the model.
        batch_timeout_ms: Time that a call waits for more rows, in milliseconds.
        max_queue: Maximum number of rows in the queue; more are refused.
        max_request_bytes: Maximum size of a request body.
        timeout: Time limit of a request, and of stopping, in seconds.
        poll: Time between two looks for new versions, in seconds.
        cors: Origin whose pages may read the answers in a browser; "*" for any, None for the
            server's own pages only.
    """

    host: str = "127.0.0.1"
    port: int = 8501
    grpc_port: int | None = None
    name: str = "camformer"
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    max_batch_size: int = 128
    batch_timeout_ms: float = 0.0
    max_queue: int = 16_384
    max_request_bytes: int = 16 * 2**20
    timeout: float = 30.0
    poll: float = 2.0
    cors: str | None = None

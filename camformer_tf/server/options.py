"""What the embedded server can be told."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class ServerOptions:
    """Rows are those of a request's inputs: one sequence, one row.

    Args:
        port: of HTTP; 0 takes a free one.
        grpc_port: none for no gRPC; 0 takes a free one.
        name: the model's, in paths and messages.
        labels: other names of versions, which stay loaded beside the newest.
        max_batch_size: rows in one call of the model.
        batch_timeout: how long a call waits for more rows (seconds).
        max_queue: rows that wait; more are refused.
        timeout: of a request, and of stopping (seconds).
        poll: how often the folder is looked at for new versions (seconds).
        cors: whose pages a browser may let read the answers; none but the server's own by default.
    """

    host: str = "127.0.0.1"
    port: int = 8501
    grpc_port: int | None = None
    name: str = "camformer"
    labels: dict[str, int] = dataclasses.field(default_factory=dict)
    max_batch_size: int = 128
    batch_timeout: float = 0.0
    max_queue: int = 16_384
    max_request_bytes: int = 16 * 2**20
    timeout: float = 30.0
    poll: float = 2.0
    cors: str | None = None

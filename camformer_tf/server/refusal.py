"""Errors that a client receives, in the codes of gRPC and of HTTP."""

from __future__ import annotations

from typing import Any

# Source: google/rpc/code.proto; for HTTP, model_servers/http_server.cc, tensorflow/serving.
_CODES = {  # name → number in gRPC, status in HTTP
    "CANCELLED": (1, 499),
    "UNKNOWN": (2, 500),
    "INVALID_ARGUMENT": (3, 400),
    "DEADLINE_EXCEEDED": (4, 504),
    "NOT_FOUND": (5, 404),
    "ALREADY_EXISTS": (6, 409),
    "PERMISSION_DENIED": (7, 403),
    "RESOURCE_EXHAUSTED": (8, 429),
    "FAILED_PRECONDITION": (9, 400),
    "ABORTED": (10, 409),
    "OUT_OF_RANGE": (11, 400),
    "UNIMPLEMENTED": (12, 501),
    "INTERNAL": (13, 500),
    "UNAVAILABLE": (14, 503),
    "DATA_LOSS": (15, 500),
    "UNAUTHENTICATED": (16, 401),
}
_NAMES = {number: name for name, (number, _) in _CODES.items()}
# Starts of the lines in which TensorFlow says where in the graph an error happened.
_TRACE = ("Graph execution error", "Detected at node", "Node:", "Stack trace", " ", "\t")


class Refusal(Exception):
    """An error that is the answer to a request.

    Args:
        code: Name of a gRPC status code.
        message: Text for the client.
        http: Status over HTTP, where the one of `code` is not specific enough.
    """

    def __init__(self, code: str, message: str, http: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.http = http or _CODES[code][1]


def invalid(message: str) -> Refusal:
    """Returns the refusal of a malformed request."""
    return Refusal("INVALID_ARGUMENT", message)


def from_tensorflow(error: Any) -> Refusal:
    """Returns the refusal for a tf.errors.OpError, without its place in the graph."""
    lines = str(error.message).splitlines()
    messages = [line for line in lines if line.strip() and not line.startswith(_TRACE)]
    return Refusal(_NAMES.get(error.error_code, "UNKNOWN"), (messages or lines)[0])

"""Why a request is not answered, in the codes of gRPC and of HTTP."""

from __future__ import annotations

# Source: google/rpc/code.proto; for HTTP, model_servers/http_server.cc, tensorflow/serving.
_CODES = {
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
_WHERE = ("Graph execution error", "Detected at node", "Node:", "Stack trace", " ", "\t")
_NAMES = {number: name for name, (number, _) in _CODES.items()}


class Refused(Exception):
    """A request that gets an error for an answer.

    Args:
        code: a name of gRPC's.
        message: for the client.
        http: the status over HTTP, where it says more than the code.
    """

    def __init__(self, code: str, message: str, http: int | None = None):
        super().__init__(message)
        self.code = code
        self.message = message
        self.http = http or _CODES[code][1]


def invalid(message: str) -> Refused:
    return Refused("INVALID_ARGUMENT", message)


def from_tensorflow(error) -> Refused:
    """Returns the refusal of a tf.errors.OpError, without where in the graph it came from."""
    lines = str(error.message).splitlines()
    said = [line for line in lines if line.strip() and not line.startswith(_WHERE)]
    return Refused(_NAMES.get(error.error_code, "UNKNOWN"), said[0] if said else lines[0])

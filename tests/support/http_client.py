"""A client of REST over real connections, for tests of servers."""

import http.client
import json
import socket
import time
from urllib.parse import urlsplit

PREDICT = "/v1/models/camformer:predict"


def connect(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)


def ask(connection: http.client.HTTPConnection, sequences: list[str], path: str = PREDICT):
    """Returns the status, the parsed answer and the headers of a predict request by columns."""
    connection.request("POST", path, json.dumps({"inputs": sequences}))
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read()), answer.headers


def open_socket(url: str) -> socket.socket:
    split = urlsplit(url)
    return socket.create_connection((split.hostname, split.port), timeout=30)


def wait_for(condition, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"the condition is still false after {seconds} s"
        time.sleep(0.02)

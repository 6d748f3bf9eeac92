"""HTTP servers that answer wrongly, late or not at all, for tests of clients."""

import contextlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator

Reply = tuple[int, dict[str, str], bytes]  # status, headers, body


@contextlib.contextmanager
def serve(answer: Callable[[int, list[str]], Reply]) -> Iterator[tuple[str, list[int]]]:
    """Serves `answer(number of the request, sequences)` to each POST, and 404 to each GET.

    Yields the URL, and a list that receives the numbers of the requests, from 1.
    """
    lock, numbers = threading.Lock(), []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(numbers) + 1
                numbers.append(number)
            status, headers, body = answer(number, request["inputs"]["sequence"])
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", numbers
        finally:
            server.shutdown()
            thread.join()


def lengths(sequences: list[str]) -> bytes:
    """Returns the body of an answer whose expressions are the lengths of the sequences."""
    return json.dumps({"outputs": {"expression": [len(text) for text in sequences]}}).encode()

"""A client that calls an ASGI application, without a network."""

import asyncio
import dataclasses
import json


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self):
        return json.loads(self.body)


async def ask(app, method: str, path: str, *pieces: bytes, headers=(), cut: bool = False) -> Answer:
    """Sends a body in pieces; with `cut`, the client disconnects after them."""
    is_answered, responses = asyncio.Event(), []
    requests = [
        {"type": "http.request", "body": piece, "more_body": cut or i + 1 < len(pieces)}
        for i, piece in enumerate(pieces or (b"",))
    ]
    requests += [{"type": "http.disconnect"}] * cut

    async def receive():
        if requests:
            return requests.pop(0)
        await is_answered.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        responses.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": "", "headers": [(k.encode(), v.encode()) for k, v in headers],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    await app(scope, receive, send)
    is_answered.set()
    if not responses:
        return Answer(0, {}, b"")
    start, *chunks = responses
    fields = {k.decode().lower(): v.decode() for k, v in start["headers"]}
    return Answer(start["status"], fields, b"".join(chunk.get("body", b"") for chunk in chunks))


def error_message(answer: Answer, status: int = 400) -> str:
    """Returns the message of an error, which must have the form of TensorFlow Serving's."""
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"error"}
    return answer.json()["error"]

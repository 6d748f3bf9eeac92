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
    """Sends a body in pieces; where `cut`, the client goes away after them."""
    answered, sent = asyncio.Event(), []
    messages = [
        {"type": "http.request", "body": piece, "more_body": cut or i + 1 < len(pieces)}
        for i, piece in enumerate(pieces or (b"",))
    ]
    messages += [{"type": "http.disconnect"}] * cut

    async def receive():
        if messages:
            return messages.pop(0)
        await answered.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": "", "headers": [(k.encode(), v.encode()) for k, v in headers],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    await app(scope, receive, send)
    answered.set()
    if not sent:
        return Answer(0, {}, b"")
    found = {k.decode().lower(): v.decode() for k, v in sent[0]["headers"]}
    return Answer(sent[0]["status"], found, b"".join(m.get("body", b"") for m in sent[1:]))

import asyncio
import gzip
import json

import pytest
from support import asgi

from camformer_tf.server import bodies, refusal, service

PREDICT = "/v1/models/camformer:predict"


def read(*messages, headers=(), limit=100, timeout=10):
    """Reads a body from messages; after the last one nothing arrives."""
    waiting = list(messages)

    async def receive():
        if not waiting:
            await asyncio.sleep(60)
        return waiting.pop(0)

    return asyncio.run(bodies.read(receive, dict(headers), limit=limit, timeout=timeout))


def chunk(body, more_body=True):
    return {"type": "http.request", "body": body, "more_body": more_body}


def test_a_body_in_pieces_is_joined():
    assert read(chunk(b"ab"), chunk(b"c"), chunk(b"", more_body=False)) == b"abc"


def test_a_body_that_does_not_arrive_is_408():
    with pytest.raises(refusal.Refusal, match=r"did not arrive within 0\.05 s") as error:
        read(chunk(b"ab"), timeout=0.05)
    assert error.value.http == 408


def test_a_disconnect_in_the_middle_ends_the_read():
    with pytest.raises(service.ClientDisconnect):
        read(chunk(b"ab"), {"type": "http.disconnect"})


def test_a_body_that_is_too_large_is_read_to_its_end_but_not_forever():
    for pieces in ([chunk(b" " * 101)], [chunk(b" " * 60)] * 2, [chunk(b" " * 100)] * 5):
        end = [] if len(pieces) == 5 else [chunk(b"", more_body=False)]
        with pytest.raises(refusal.Refusal, match="larger than 100 bytes") as error:
            read(*pieces, *end)
        assert error.value.http == 413


def test_a_small_gzip_that_stands_for_a_huge_body_is_refused():
    body = gzip.compress(b" " * 10**6)[:99]
    with pytest.raises(refusal.Refusal, match="larger than 100 bytes"):
        read(chunk(body, more_body=False), headers={b"content-encoding": b"gzip"})


def test_a_request_in_pieces_is_answered(run_app, sequences):
    body = json.dumps({"instances": sequences}).encode()
    pieces = [body[i : i + 7] for i in range(0, len(body), 7)]
    answer = run_app(lambda app, _: asgi.ask(app, "POST", PREDICT, *pieces))
    assert len(answer.json()["predictions"]) == 9


def test_a_request_that_is_too_large_is_refused(run_app):
    for pieces in ([b" " * 20_001], [b" " * 1000] * 21, [b" " * 20_000] * 50):
        answer = run_app(lambda app, _, pieces=pieces: asgi.ask(app, "POST", PREDICT, *pieces))
        assert "larger than 20000 bytes" in asgi.error_message(answer, 413)
        assert answer.headers["connection"] == "close"


def test_a_gzipped_request_is_read_and_a_damaged_one_refused(ask, sequences):
    body, headers = json.dumps({"instances": sequences}).encode(), [("content-encoding", "gzip")]
    answer = ask("POST", PREDICT, gzip.compress(body), headers=headers)
    assert answer.body == ask("POST", PREDICT, body).body
    bomb = ask("POST", PREDICT, gzip.compress(b" " * 10**8)[:20_000], headers=headers)
    asgi.error_message(bomb, 413)
    plain = ask("POST", PREDICT, body, headers=headers)
    assert "not gzip" in asgi.error_message(plain)
    torn = ask("POST", PREDICT, gzip.compress(body)[:-9], headers=headers)
    assert "too early" in asgi.error_message(torn)
    brotli = ask("POST", PREDICT, body, headers=[("content-encoding", "br")])
    assert "expected gzip or none" in asgi.error_message(brotli, 415)


def test_a_client_that_disconnects_in_the_middle_leaves_nothing_open(run_app):
    async def use(app, running):
        answer = await asgi.ask(app, "POST", PREDICT, b'{"inst', cut=True)
        return answer, running.open_requests

    answer, open_requests = run_app(use)
    assert answer.status == 0 and open_requests == 0

"""Any request gets an error in JSON or a right answer; none makes the server fail."""

import asyncio
import gzip
import json

import pytest
from hypothesis import HealthCheck, given, settings, strategies
from support import asgi

from camformer_tf.server import batching, counters, options, rest, service

VALID = json.dumps({"instances": [{"sequence": "ACGT" * 27 + "AC"}, {"sequence": "A"}]}).encode()
EXAMPLES = b'{"signature_name": "regress", "examples": [{"sequence": "ACGT", "x": [1, 2.5]}]}'

scalars = strategies.one_of(
    strategies.none(),
    strategies.booleans(),
    strategies.integers(),
    strategies.sampled_from([2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 1e308, 5e-324]),
    strategies.floats(),
    strategies.text(max_size=20),
    strategies.just("ACGT" * 27 + "AC"),
)
keys = strategies.sampled_from(
    ["instances", "inputs", "examples", "context", "signature_name", "sequence", "b64", "a", "b",
     "onehot", "", "__proto__"]
) | strategies.text(max_size=8)  # fmt: skip
values = strategies.recursive(
    scalars,
    lambda inner: (
        strategies.lists(inner, max_size=4) | strategies.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=12,
)  # fmt: skip
names = strategies.sampled_from(["serving_default", "onehot", "regress", "pair", "none", 1, None])
requests = strategies.fixed_dictionaries(
    {},
    optional={
        "instances": values, "inputs": values, "examples": values, "context": values,
        "signature_name": names,
    },
)  # fmt: skip
trees = (requests | values).map(lambda value: json.dumps(value).encode())


@strategies.composite
def damaged_bodies(draw):
    """A valid request with bytes removed, changed or inserted."""
    body = bytearray(draw(strategies.sampled_from([VALID, EXAMPLES]) | trees))
    for _ in range(draw(strategies.integers(1, 3))):
        start = draw(strategies.integers(0, len(body)))
        piece = draw(
            strategies.binary(max_size=4) | strategies.sampled_from([b"\0", b'"', b"[" * 5000])
        )
        body[start : start + draw(strategies.integers(0, 8))] = piece
    return bytes(body)


bodies = strategies.one_of(strategies.binary(max_size=80), trees, damaged_bodies())
methods = strategies.sampled_from(["predict", "predict", "regress", "classify"])
encodings = strategies.sampled_from([None, None, None, None, "gzip", "deflate", "x", "gzip, gzip"])


@pytest.fixture(scope="module")
def ask(toy_versions):
    """Sends all requests to one application in one loop."""
    with asyncio.Runner() as runner:

        async def start():
            batcher = batching.Batcher(8, 100)
            server_options = options.ServerOptions(max_request_bytes=100_000)
            running = service.Service(
                server_options, toy_versions, batcher, counters.Counters(), ready=True
            )
            return rest.app(running), batcher

        app, batcher = runner.run(start())
        yield lambda *arguments, **fields: runner.run(asgi.ask(app, *arguments, **fields))
        batcher.close()


def is_refusal(answer, body):
    """Returns whether a body was refused; fails if the server did."""
    if answer.status == 200:
        assert isinstance(json.loads(body), dict)  # readable, so it may be right
        assert answer.json().keys() <= {"predictions", "outputs", "results"}
        return False
    assert 400 <= answer.status < 500, (answer, body)
    assert isinstance(answer.json()["error"], str)
    return True


@pytest.mark.slow
def test_no_malformed_body_of_ten_thousand_breaks_the_server(ask):
    refusals = 0

    @settings(max_examples=13_000, database=None, suppress_health_check=list(HealthCheck))
    @given(bodies, methods, encodings)
    def send(body, method, encoding):
        nonlocal refusals
        headers = [] if encoding is None else [("content-encoding", encoding)]
        path = f"/v1/models/camformer:{method}"
        refusals += is_refusal(ask("POST", path, body, headers=headers), body)

    send()
    assert refusals >= 10_000
    assert ask("POST", "/v1/models/camformer:predict", VALID).status == 200


@settings(max_examples=200)
@given(trees)
def test_a_gzipped_body_gets_the_same_answer_as_a_plain_one(ask, body):
    path = "/v1/models/camformer:predict"
    plain = ask("POST", path, body)
    answer = ask("POST", path, gzip.compress(body), headers=[("content-encoding", "gzip")])
    assert (plain.status, plain.body) == (answer.status, answer.body)
    is_refusal(plain, body)


@settings(max_examples=300)
@given(
    strategies.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "X"]),
    strategies.lists(
        strategies.sampled_from(
            ["v1", "models", "camformer", "versions", "labels", "1", "metadata", "card", ":predict",
             "camformer:predict", "..", "%00", "\0", "", "é"]
        )
        | strategies.text(max_size=4),
        max_size=6,
    ).map("/".join),
)  # fmt: skip
def test_no_path_breaks_the_server(ask, method, path):
    answer = ask(method, "/" + path, b"{}")
    assert answer.status == 200 or 400 <= answer.status < 500

"""TensorFlow Serving's REST, and beside it the page, the model card, health and metrics.

Source of paths: model_servers/http_rest_api_util.cc and g3doc/api_rest.md, tensorflow/serving.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import zlib
from pathlib import Path

from google.protobuf import json_format

from camformer_tf.server import examples, models, refusal, service, tensors

PAGE = Path(__file__).parent / "page"

_log = logging.getLogger(__name__)
_VERSION = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_ASK = re.compile(rf"(?i)/v1/models/(?P<name>[^/:]+){_VERSION}:(?P<what>classify|regress|predict)")
_LOOK = re.compile(rf"(?i)/v1/models(?:/(?P<name>[^/:]+){_VERSION}(?:/(?P<what>metadata|card))?)?")
_INT64_MAX = 2**63 - 1
_JSON = (b"content-type", b"application/json")
_SAFE = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    # The page may ask any TensorFlow Serving, and nobody may frame it.
    (b"content-security-policy", b"default-src 'self'; connect-src *; frame-ancestors 'none'"),
]


def app(of: service.Service):
    """Returns the ASGI application. Paths of TensorFlow Serving go to `answer` at once: a router
    would cost as much as the rest of a small request.
    """
    from starlette.middleware.cors import CORSMiddleware

    others = _others(of)

    async def both(scope, receive, send) -> None:
        if scope["type"] != "http":
            return
        start, code = time.perf_counter(), "499"
        scope["camformer"] = "other"  # what is counted under which name
        api = scope["path"].lower().startswith("/v1/")

        async def told(message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = str(message["status"])
                message["headers"] = [*message["headers"], *_SAFE, *_closing(of)]
            await send(message)

        of.open += 1
        try:
            await (_answer(of, scope, receive, told) if api else others(scope, receive, told))
        finally:
            of.open -= 1
            of.metrics.request(scope["camformer"], code, time.perf_counter() - start)

    if of.options.cors:
        return CORSMiddleware(
            both, allow_origins=[of.options.cors], allow_methods=["GET", "POST"],
            allow_headers=["content-type"],
        )  # fmt: skip
    return both


def _closing(of: service.Service) -> list:
    return [(b"connection", b"close")] if of.stopping else []


def _others(of: service.Service):
    """Returns the application of what TensorFlow Serving has not."""
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    async def healthz(request):
        request.scope["camformer"] = "healthz"
        well = of.ready and not of.stopping
        state = "ok" if well else "stopping" if of.stopping else "loading"
        return JSONResponse({"status": state}, 200 if well else 503, {"cache-control": "no-store"})

    async def metrics(request):
        request.scope["camformer"] = "metrics"
        text, kind = of.metrics.page()
        return Response(text, headers={"content-type": kind, "cache-control": "no-store"})

    async def error(request, exception):
        return JSONResponse({"error": exception.detail}, exception.status_code, exception.headers)

    routes = [Route("/healthz", healthz), Route("/metrics", metrics)]
    if PAGE.is_dir():
        routes.append(Mount("/", StaticFiles(directory=PAGE, html=True)))
    return Starlette(routes=routes, exception_handlers={404: error, 405: error})


# === Requests to the model ===


async def _answer(of: service.Service, scope, receive, send) -> None:
    headers = [_JSON, (b"cache-control", b"no-store")]
    try:
        status, body = 200, await _respond(of, scope, receive)
    except service.Gone:
        return
    except refusal.Refused as error:
        status, body = error.http, _dump({"error": error.message})
        if status == 503:
            headers.append((b"retry-after", b"1"))
        if status in (408, 413):
            headers.append((b"connection", b"close"))  # the rest of it is not read
    except Exception:
        _log.exception("%s %s", scope["method"], scope["path"])
        status, body = 500, _dump({"error": "The server failed; see its log"})
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _respond(of: service.Service, scope, receive) -> bytes:
    method, path = scope["method"], scope["path"]
    asked, looked = _ASK.fullmatch(path), _LOOK.fullmatch(path)
    if method not in ("GET", "POST"):
        raise refusal.Refused("UNIMPLEMENTED", f"{method} is not allowed: use GET or POST", 405)
    if method == "POST" and asked:
        scope["camformer"] = asked["what"].lower()
        body = await _body(of, scope, receive)
        return await _ask(of, asked, body, receive)
    if method == "GET" and looked:
        scope["camformer"] = (looked["what"] or ("status" if looked["name"] else "models")).lower()
        return _look(of, looked)
    raise refusal.invalid(f"Malformed request: {method} {path}")


async def _ask(of: service.Service, asked: re.Match, body: bytes, receive) -> bytes:
    of.refuse_unless_open()
    request = tensors.parse(body)
    version = of.versions.find(asked["name"], _number(asked), asked["label"] or "")
    name, what = tensors.signature_name(request), asked["what"].lower()
    if what == "predict":
        signature = version.signature(name)
        inputs, in_rows = tensors.read(request, signature.inputs)
    else:
        given = examples.from_json(request, what)
        method = {"regress": models.REGRESS, "classify": models.CLASSIFY}[what]
        signature = version.method(name, method)
        if what == "classify":
            raise refusal.Refused("UNIMPLEMENTED", "This server does not classify")
        inputs = dict.fromkeys(signature.inputs, given)
    answer = of.batcher.submit(version, signature, inputs)
    outputs = await of.outputs(answer, of.options.timeout, lambda: _leaves(receive))
    if what == "regress":
        (values,) = outputs.values()
        return tensors.write_results(values.reshape(-1))
    return tensors.write_rows(outputs) if in_rows else tensors.write_columns(outputs)


def _look(of: service.Service, looked: re.Match) -> bytes:
    name, number, label = looked["name"], _number(looked), looked["label"] or ""
    if name is None:
        return _dump({"models": [of.versions.name]})
    what = (looked["what"] or "status").lower()
    if what == "status":
        number = of.versions.labelled(label) if label else number
        return _dump(service.status_json(of.versions.states(name, number)))
    version = of.versions.find(name, number, label)
    if what == "metadata":
        signatures = {
            key: json_format.MessageToDict(
                signature.definition,
                preserving_proto_field_name=True,
                always_print_fields_with_no_presence=True,
            )
            for key, signature in version.signatures.items()
        }
        spec = {"name": name, "signature_name": "", "version": str(version.number)}
        signatures = {"signature_def": {"signature_def": signatures}}
        return _dump({"model_spec": spec, "metadata": signatures})
    if version.card is None:
        raise refusal.Refused("NOT_FOUND", f"Version {version.number} of {name} has no model card")
    return _dump(version.card)


def _number(match: re.Match) -> int | None:
    if match["version"] is None:
        return None
    if int(match["version"][:20]) > _INT64_MAX:
        raise refusal.invalid(f"Failed to convert version: {match['version']} to numeric.")
    return int(match["version"])


def _dump(value: dict) -> bytes:
    return json.dumps(value, indent=1).encode()


# === Bodies ===


async def _body(of: service.Service, scope, receive) -> bytes:
    """Returns the body of a request. What is too large is read to its end and thrown away, within
    reason: a client that still writes would not see the answer.

    Raises:
        refusal.Refused: too large, too slow, or in an encoding other than gzip.
        service.Gone: the client went away meanwhile.
    """
    limit = of.options.max_request_bytes
    parts, size, more = [], 0, True
    try:
        async with asyncio.timeout(of.options.timeout):
            while more and size <= 4 * limit:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise service.Gone
                part, more = message.get("body", b""), message.get("more_body", False)
                size += len(part)
                if size <= limit:
                    parts.append(part)
    except TimeoutError:
        raise refusal.Refused("DEADLINE_EXCEEDED", "The request did not arrive", 408) from None
    if size > limit:
        raise _too_large(limit)
    return _decoded(b"".join(parts), dict(scope["headers"]), limit)


def _decoded(body: bytes, headers: dict[bytes, bytes], limit: int) -> bytes:
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding == b"identity":
        return body
    if encoding not in (b"gzip", b"x-gzip"):
        shown = encoding.decode("latin-1")[:40]
        raise refusal.Refused(
            "INVALID_ARGUMENT", f"Content-Encoding {shown}: expected gzip or none", 415
        )
    stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        plain = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise refusal.invalid(f"The body is not gzip: {error}") from None
    if len(plain) > limit:
        raise _too_large(limit)
    if not stream.eof:
        raise refusal.invalid("The body is not gzip: it ends too early")
    return plain


def _too_large(limit: int) -> refusal.Refused:
    return refusal.Refused(
        "INVALID_ARGUMENT", f"The request is larger than {limit} bytes. Send several", 413
    )


async def _leaves(receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

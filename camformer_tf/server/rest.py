"""TensorFlow Serving's REST, and beside it the page, the model card, health and metrics.

Source of paths: model_servers/http_rest_api_util.cc and g3doc/api_rest.md, tensorflow/serving.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, cast

from google.protobuf import json_format

from camformer_tf.server import bodies, examples, models, refusal, tensors
from camformer_tf.server import service as services

PAGE = Path(__file__).parent / "page"

_log = logging.getLogger(__name__)
_VERSION = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_POST = re.compile(
    rf"(?i)/v1/models/(?P<name>[^/:]+){_VERSION}:(?P<method>classify|regress|predict)"
)
_GET = re.compile(
    rf"(?i)/v1/models(?:/(?P<name>[^/:]+){_VERSION}(?:/(?P<subject>metadata|card))?)?"
)
_INT64_MAX = 2**63 - 1
_JSON = (b"content-type", b"application/json")
_NO_STORE = (b"cache-control", b"no-store")
_CLOSE = (b"connection", b"close")
_SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    # The page may ask any TensorFlow Serving, and no other page may frame it.
    (b"content-security-policy", b"default-src 'self'; connect-src *; frame-ancestors 'none'"),
]
_COUNTER = "camformer"  # key of a scope: the path under which the request is counted

Scope = MutableMapping[str, Any]  # of ASGI
Send = Callable[[bodies.Message], Awaitable[None]]
App = Callable[[Scope, bodies.Receive, Send], Awaitable[None]]


def app(service: services.Service) -> App:
    """Returns the ASGI application of a server."""
    from starlette.middleware.cors import CORSMiddleware

    application = Application(service)
    if not service.options.cors:
        return application
    return CORSMiddleware(
        application, allow_origins=[service.options.cors], allow_methods=["GET", "POST"],
        allow_headers=["content-type"],
    )  # fmt: skip


class Application:
    """The ASGI application: paths of TensorFlow Serving, the page, health and metrics.

    Paths of TensorFlow Serving are answered without a router, which would cost as much as the rest
    of a small request.
    """

    def __init__(self, service: services.Service) -> None:
        self._service = service
        self._api = _Api(service)
        self._site = _site(service)

    async def __call__(self, scope: Scope, receive: bodies.Receive, send: Send) -> None:
        """Answers a request and counts it."""
        if scope["type"] != "http":
            return
        start, code, service = time.perf_counter(), "499", self._service
        scope[_COUNTER] = "other"
        is_api = scope["path"].lower().startswith("/v1/")

        async def send_with_headers(message: bodies.Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = str(message["status"])
                closing = [_CLOSE] if service.stopping else []
                message["headers"] = [*message["headers"], *_SECURITY, *closing]
            await send(message)

        service.open_requests += 1
        try:
            await (self._api if is_api else self._site)(scope, receive, send_with_headers)
        finally:
            service.open_requests -= 1
            service.counters.count_request(scope[_COUNTER], code, time.perf_counter() - start)


# === What TensorFlow Serving does not have ===


def _site(service: services.Service) -> App:
    """Returns the application of health, metrics and the page."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import BaseRoute, Mount, Route
    from starlette.staticfiles import StaticFiles

    async def healthz(request: Request) -> Response:
        request.scope[_COUNTER] = "healthz"
        state = service.state
        status = 200 if state == "ok" else 503
        return JSONResponse({"status": state}, status, {"cache-control": "no-store"})

    async def metrics(request: Request) -> Response:
        request.scope[_COUNTER] = "metrics"
        text, content_type = service.counters.exposition()
        return Response(text, headers={"content-type": content_type, "cache-control": "no-store"})

    async def error(request: Request, exception: Exception) -> Response:
        exception = cast(HTTPException, exception)
        return JSONResponse({"error": exception.detail}, exception.status_code, exception.headers)

    routes: list[BaseRoute] = [Route("/healthz", healthz), Route("/metrics", metrics)]
    if PAGE.is_dir():
        routes.append(Mount("/", StaticFiles(directory=PAGE, html=True)))
    return Starlette(routes=routes, exception_handlers={404: error, 405: error})


# === TensorFlow Serving's paths ===


class _Api:
    """The ASGI application of the paths under /v1."""

    def __init__(self, service: services.Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: bodies.Receive, send: Send) -> None:
        headers = [_JSON, _NO_STORE]
        try:
            status, body = 200, await self._answer(scope, receive)
        except services.ClientDisconnect:
            return
        except refusal.Refusal as error:
            status, body = error.http, _dump({"error": error.message})
            if status == 503:
                headers.append((b"retry-after", b"1"))
            if status in (408, 413):
                headers.append(_CLOSE)  # the rest of the request is not read
        except Exception:
            _log.exception("%s %s", scope["method"], scope["path"])
            status, body = 500, _dump({"error": "The server failed; see its log"})
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: bodies.Receive) -> bytes:
        method, path = scope["method"], scope["path"]
        if method not in ("GET", "POST"):
            raise refusal.Refusal("UNIMPLEMENTED", f"{method} is not allowed: use GET or POST", 405)
        if method == "POST" and (match := _POST.fullmatch(path)):
            scope[_COUNTER] = match["method"].lower()
            options = self._service.options
            body = await bodies.read(
                receive, dict(scope["headers"]), limit=options.max_request_bytes,
                timeout=options.timeout,
            )  # fmt: skip
            return await self._compute(match, body, receive)
        if method == "GET" and (match := _GET.fullmatch(path)):
            subject = match["subject"] or ("status" if match["name"] else "models")
            scope[_COUNTER] = subject.lower()
            return self._describe(match)
        raise refusal.invalid(f"Malformed request: {method} {path}")

    async def _compute(self, match: re.Match, body: bytes, receive: bodies.Receive) -> bytes:
        """Returns the answer of the model to a request."""
        service = self._service
        service.require_ready()
        request = tensors.parse(body)
        version = service.versions.find(match["name"], _number(match), match["label"] or "")
        name, method = tensors.signature_name(request), match["method"].lower()
        has_rows = False
        if method == "predict":
            signature = version.signature(name)
            inputs, has_rows = tensors.read(request, signature.inputs)
        else:
            array = examples.from_json(request, method)  # (N,)
            api = {"regress": models.REGRESS, "classify": models.CLASSIFY}[method]
            signature = version.signature_for(api, name)
            if method == "classify":
                raise refusal.Refusal("UNIMPLEMENTED", "This server does not support classify")
            inputs = dict.fromkeys(signature.inputs, array)
        future = service.batcher.submit(version, signature, inputs)
        outputs = await service.wait(
            future, service.options.timeout, lambda: bodies.disconnect(receive)
        )
        if method == "regress":
            (values,) = outputs.values()
            return tensors.write_results(values.reshape(-1))  # (N,)
        return tensors.write_rows(outputs) if has_rows else tensors.write_columns(outputs)

    def _describe(self, match: re.Match) -> bytes:
        """Returns the status, metadata or card of a model, or the list of models."""
        versions = self._service.versions
        name, number, label = match["name"], _number(match), match["label"] or ""
        if name is None:
            return _dump({"models": [versions.name]})
        subject = (match["subject"] or "status").lower()
        if subject == "status":
            number = versions.number_for(label) if label else number
            return _dump(services.status_json(versions.statuses(name, number)))
        version = versions.find(name, number, label)
        if subject == "metadata":
            return _dump(_metadata(name, version))
        if version.card is None:
            raise refusal.Refusal(
                "NOT_FOUND", f"Version {version.number} of {name} has no model card"
            )
        return _dump(version.card)


def _metadata(name: str, version: models.Version) -> dict:
    """Returns tensorflow.serving.GetModelMetadataResponse as JSON."""
    signatures = {
        key: json_format.MessageToDict(
            signature.definition,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
        for key, signature in version.signatures.items()
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(version.number)},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


def _number(match: re.Match) -> int | None:
    if match["version"] is None:
        return None
    if int(match["version"][:20]) > _INT64_MAX:
        raise refusal.invalid(f"Failed to convert version: {match['version']} to numeric.")
    return int(match["version"])


def _dump(value: dict) -> bytes:
    return json.dumps(value, indent=1).encode()

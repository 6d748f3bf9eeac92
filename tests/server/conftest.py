"""A toy export, and the application that serves it within one process."""

import asyncio
import dataclasses
import json
import threading

import pytest
import tensorflow as tf
from support import asgi, toy_export

from camformer_tf.server import batching, counters, models, options, rest, service, versions

OPTIONS = options.ServerOptions(labels={"stable": 1}, max_request_bytes=20_000, timeout=20)


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory):
    """A toy export of two versions."""
    folder = tmp_path_factory.mktemp("served") / "toy"
    for version in (1, 2):
        toy_export.write(folder, version)
    return folder


@pytest.fixture(scope="session")
def toy_versions(toy_folder):
    toy = versions.Versions(
        toy_folder, "camformer", OPTIONS.labels, lambda path: models.load(path, (1, 4))
    )
    toy.poll()
    return toy


@pytest.fixture(scope="session")
def toy_signatures(toy_folder):
    """The newest version as TensorFlow itself loads it: the judge of answers."""
    return tf.saved_model.load(str(toy_folder / "2")).signatures


@pytest.fixture(scope="session")
def sequences():
    return toy_export.random_sequences(9)


@pytest.fixture(scope="session")
def run_app(toy_versions):
    """Runs `use(app, service)` in a loop, with some options changed."""

    def run(use, **changes):
        async def main():
            server_options = dataclasses.replace(OPTIONS, **changes)
            counts = counters.Counters()
            batcher = batching.Batcher(4, server_options.max_queue, on_call=counts.count_call)
            running = service.Service(server_options, toy_versions, batcher, counts, ready=True)
            try:
                return await use(rest.app(running), running)
            finally:
                batcher.close()

        return asyncio.run(main())

    return run


@pytest.fixture(scope="session")
def ask(run_app):
    """Asks an application once: method, path, body (bytes or JSON) → answer."""

    def ask(method, path, body=None, *, headers=(), **changes):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        pieces = [] if body is None else [content]
        return run_app(
            lambda app, _: asgi.ask(app, method, path, *pieces, headers=headers), **changes
        )

    return ask


@pytest.fixture
def slow_model(toy_versions, monkeypatch):
    """Blocks the model's calls: yields the events that let them continue, and that one began."""
    resume, began = threading.Event(), threading.Event()
    version = toy_versions.find("camformer")
    signature = version.signatures["serving_default"]

    def call(arrays):
        began.set()
        resume.wait(20)
        return signature.call(arrays)

    slow = dataclasses.replace(signature, call=call)
    monkeypatch.setitem(version.signatures, "serving_default", slow)
    yield resume, began
    resume.set()

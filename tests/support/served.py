"""The export of three calibrated replicates, and the embedded server that serves it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import camformer_tf as cf


@pytest.fixture(scope="session")
def export_dir(replicates, tmp_path_factory) -> Path:
    """An export directory with version 1."""
    folder = tmp_path_factory.mktemp("served") / "exports"
    cf.export(replicates, folder)
    return folder


@pytest.fixture(scope="session")
def urls(export_dir) -> Iterator[dict[str, str]]:
    """The URLs of a server of that export: scheme → URL."""
    with cf.serve(export_dir, port=0, grpc_port=0) as server:
        yield {"http": server.url, "grpc": f"grpc://{server.grpc}"}

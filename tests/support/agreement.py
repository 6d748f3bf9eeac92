"""Trains one network on one device, on two mirrored ones or in two processes, to compare them."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

from support import programs

SAMPLE = Path(__file__).parents[2] / "tfrecords" / "sample"
KINDS = ("one", "mirrored", "multiworker")


def free_addresses(count: int) -> list[str]:
    """Returns addresses of this machine at ports at which no program listens."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in servers]
    for server in servers:
        server.close()
    return addresses


def variables(addresses: list[str], index: int) -> dict[str, str]:
    """Returns the environment of one worker."""
    task = {"type": "worker", "index": index}
    config = json.dumps({"cluster": {"worker": addresses}, "task": task})
    return programs.environment() | {"TF_CONFIG": config}


def in_two_processes(command: list[str], timeout: float = 240, **options) -> list[int]:
    """Runs a command as worker 0 and worker 1 of two, and returns their exit codes."""
    addresses = free_addresses(2)
    processes = [
        subprocess.Popen(command, env=variables(addresses, index), **options) for index in range(2)
    ]
    try:
        return [process.wait(timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()


def train(
    kind: str,
    optimizer: str,
    dropout: float,
    folder: Path,
    *,
    in_graph: bool = False,
    epochs: int = 1,
) -> list[dict[str, np.ndarray]]:
    """Trains the smoke network on the sample.

    Args:
        kind: one of KINDS.
        optimizer: "sgd" or "adamw".
        dropout: of every block.
        folder: for files.
        in_graph: whether the steps of a call are a loop in the graph, as on GPUs; without pooling.
        epochs: their number.

    Returns:
        Of every process, all variables but the dropout seeds, and the history.
    """
    out = folder / f"{kind}-{optimizer}-{dropout}-{in_graph}"
    program = Path(programs.__file__).with_name("agreement_train.py")
    arguments = [kind, optimizer, str(dropout), str(in_graph), str(epochs), str(SAMPLE), str(out)]
    command = [sys.executable, str(program), *arguments]
    if kind == "multiworker":
        assert in_two_processes(command) == [0, 0]
    else:
        subprocess.run(command, check=True, timeout=240, env=programs.environment())
    return [dict(np.load(path)) for path in sorted(folder.glob(f"{out.name}-*.npz"))]


def largest_difference(
    a: dict[str, np.ndarray], b: dict[str, np.ndarray], name: str, but: str = "no such name"
) -> float:
    """Returns the largest difference in what has `name` in its name and not `but`."""
    names = [key for key in a if name in key and but not in key]
    assert names and a.keys() == b.keys()
    return max(float(np.abs(a[key].astype(float) - b[key]).max()) for key in names)

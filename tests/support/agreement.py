"""Trains one network on one device, on two mirrored ones or in two processes, to compare them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

SAMPLE = Path(__file__).parents[2] / "tfrecords" / "sample"
KINDS = ("one", "mirrored", "multiworker")

_PROGRAM = """
import sys
from pathlib import Path
import keras, numpy as np
from camformer_tf import recipe
from camformer_tf.batches import dataset
from camformer_tf.data import records, sequence
from camformer_tf.model import predictors, rescnn
from camformer_tf.training import callbacks, loop, optimizer, strategy

kind, name, dropout, in_graph, epochs, folder, out = sys.argv[1:]
changes = [f"model.blocks.{i}.dropout={dropout}" for i in range(4)]
if in_graph == "True":
    loop._loops_in_graph = lambda: True
    changes.append("model.blocks.2.pool=null")  # whose gradient oneDNN rounds now so, now so
settings = recipe.load("smoke", changes)
made = strategy.make(kind, 2 if kind == "mirrored" else None, "float32", timeout=60)
batches = dataset.load(
    Path(folder), "train", 128, seed=1, worker=made.worker, workers=made.workers
)
validation = records.read(Path(folder), "val")
with made.strategy.scope():
    model = rescnn.build(settings.model)
    model.optimizer = (
        keras.optimizers.SGD(0.001) if name == "sgd" else optimizer.optimizer(settings.train)
    )
    model.optimizer.build(model.trainable_variables)
scores = callbacks.CorrelationScores(
    validation.letters,
    validation.expression,
    loss=optimizer.loss("l1"),
    predict=predictors.plain(model, "onehot"),
)
loop.train(model, batches, loss=optimizer.loss("l1"), table=sequence.table("onehot"),
           strategy=made.strategy, epochs=int(epochs), batch_size=128, callbacks=[scores],
           steps_per_call={"one": 1, "mirrored": 5, "multiworker": 3}[kind])
variables = {f"{i:03d} {v.path}": keras.ops.convert_to_numpy(v)
             for i, v in enumerate(model.variables) if "seed" not in v.path}
history = {f"history {k}": np.array(v) for k, v in model.history.history.items()
           if k != "sequences_per_second"}
np.savez(f"{out}-{made.worker}.npz", **variables, **history)
"""


def free_addresses(count: int) -> list[str]:
    """Returns addresses of this machine at ports that nobody listens at."""
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in servers]
    for server in servers:
        server.close()
    return addresses


def variables(addresses: list[str], index: int) -> dict[str, str]:
    """Returns the environment of one worker."""
    task = {"type": "worker", "index": index}
    return os.environ | {"TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task})}


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
    """Trains the smoke network on the sample and returns, of every process, all variables but the
    dropout seeds, and the history.

    Args:
        in_graph: whether the steps of a call are a loop in the graph, as on GPUs; without pooling.
    """
    out = folder / f"{kind}-{optimizer}-{dropout}-{in_graph}"
    arguments = [kind, optimizer, str(dropout), str(in_graph), str(epochs), str(SAMPLE), str(out)]
    command = [sys.executable, "-c", _PROGRAM, *arguments]
    if kind == "multiworker":
        assert in_two_processes(command) == [0, 0]
    else:
        subprocess.run(command, check=True, timeout=240)
    found = sorted(folder.glob(f"{out.name}-*.npz"))
    return [dict(np.load(path)) for path in found]


def largest_difference(
    a: dict[str, np.ndarray], b: dict[str, np.ndarray], name: str, but: str = "no such name"
) -> float:
    """Returns the largest difference in what has `name` in its name and not `but`."""
    names = [key for key in a if name in key and but not in key]
    assert names and a.keys() == b.keys()
    return max(float(np.abs(a[key].astype(float) - b[key]).max()) for key in names)

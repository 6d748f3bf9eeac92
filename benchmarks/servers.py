"""Exports with random weights, embedded servers and REST requests: for serving.py and soak.py."""

from __future__ import annotations

import random
import subprocess
import tempfile
from pathlib import Path

import harness

NAME, PATH = "camformer", "/v1/models/camformer:predict"


def export(recipe_name: str, out: Path, seed: int = 0) -> Path:
    """Exports a network with random weights, and returns the folder of the new version."""
    from camformer_tf import recipe
    from camformer_tf.export import export
    from camformer_tf.model import keras_file, rescnn

    settings = recipe.load(recipe_name, [f"train.seed={seed}"])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "random.keras")
        keras_file.save(rescnn.from_recipe(settings), file, settings)
        return export.export([file], out)


def random_sequences(count: int) -> list[str]:
    generator = random.Random(2022)
    return ["".join(generator.choices("ACGT", k=110)) for _ in range(count)]


async def post(reader, writer, body: bytes, path: str = PATH) -> tuple[int, bytes, bool]:
    """Returns status, body, and whether the server closes the connection."""
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:] if line)
    answer = await reader.readexactly(int(headers["content-length"]))
    return int(lines[0].split()[1]), answer, headers.get("connection") == "close"


class Server:
    """A running `camformer-tf serve`."""

    def __init__(self, folder: Path, *options: str):
        self.process = subprocess.Popen(
            [*harness.CAMFORMER_TF, "serve", str(folder), "--quiet", *options],
            stdout=subprocess.PIPE, text=True, env=harness.QUIET,
        )  # fmt: skip
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the server ended; see above")
        http, _, rpc = line.split("REST at ")[1].strip().partition("/, gRPC at ")
        self.addresses = {"REST": http.rstrip("/"), "gRPC": rpc}

    def memory(self, field: str = "VmHWM") -> float:
        """Returns its peak memory (MiB), or with VmRSS its present memory."""
        return harness.peak_memory(self.process.pid, field)

    def stop(self) -> int:
        """Stops it by SIGTERM and returns its exit code."""
        self.process.terminate()
        return self.process.wait(60)

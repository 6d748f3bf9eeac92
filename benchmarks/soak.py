"""Puts the embedded server under load for minutes, with everything that can go wrong.

    python benchmarks/soak.py [--minutes 10] [--recipe smoke]

Clients over REST and gRPC compare every answer with the prediction of that version in process.
Meanwhile versions are added and removed, the server is stopped by SIGTERM and started again, and
other clients send malformed, oversized and cut-off requests. A request is lost if it was sent over
an open connection and got no answer. The script exits with 1 if an answer was wrong or a request
lost.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import random
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import servers

MODELS, LIVES = 3, 4
REST_CLIENTS, GRPC_CLIENTS = 12, 4
RELOAD = 10  # seconds between versions
LIMIT = 100_000  # bytes of a request
HARMLESS = ("answers right", "gRPC: UNAVAILABLE", ": 503", ": 4", "cut off", "new versions")


def predict_in_process(versions: list[Path], sequences: list[str]) -> np.ndarray:
    """Returns the predictions of every model: float32 (M, N)."""
    import tensorflow as tf

    calls = [
        tf.saved_model.load(str(version)).signatures["serving_default"] for version in versions
    ]
    answers = [call(sequence=tf.constant(sequences))["expression"].numpy() for call in calls]
    return np.stack(answers)  # (M, N)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Soak:
    """The state that all clients share."""

    def __init__(self, ports: tuple[int, int], sequences: list[str], predictions: np.ndarray):
        self.http, self.rpc = ports
        self.sequences, self.predictions = sequences, predictions
        self.counts, self.stop = collections.Counter(), asyncio.Event()

    def draw_rows(self) -> np.ndarray:
        return np.random.randint(0, len(self.sequences), random.choice([1, 1, 1, 8, 64, 300]))

    def compare(self, api: str, values, rows: np.ndarray, model: int | None = None) -> None:
        """Compares with one model, or with any: a REST answer does not name its version."""
        matches = np.isclose(np.float32(values), self.predictions[:, rows], atol=1e-5).all(axis=1)
        is_right = matches.any() if model is None else matches[model]
        self.counts[f"{api}: answers {'right' if is_right else 'WRONG'}"] += 1


async def ask_rest(soak: Soak) -> None:
    while not soak.stop.is_set():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", soak.http)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        is_closing = False
        while not (is_closing or soak.stop.is_set()):
            rows = soak.draw_rows()
            body = json.dumps({"inputs": [soak.sequences[row] for row in rows]}).encode()
            try:
                status, answer, is_closing = await servers.post(reader, writer, body)
            except (OSError, asyncio.IncompleteReadError) as error:
                soak.counts[f"REST: LOST ({type(error).__name__})"] += 1
                break
            if status == 200:
                soak.compare("REST", json.loads(answer)["outputs"]["expression"], rows)
            else:
                soak.counts[f"REST: {status}"] += 1
                await asyncio.sleep(0.02)
        writer.close()


async def ask_grpc(soak: Soak) -> None:
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    options = [("grpc.max_reconnect_backoff_ms", 200)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{soak.rpc}", options=options) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        while not soak.stop.is_set():
            rows = soak.draw_rows()
            request = predict_pb2.PredictRequest()
            request.model_spec.name = servers.NAME
            tensor = tf.make_tensor_proto([soak.sequences[row] for row in rows])
            request.inputs["sequence"].CopyFrom(tensor)
            try:
                answer = await stub.Predict(request, timeout=60)
            except grpc.aio.AioRpcError as error:
                soak.counts[f"gRPC: {grpc_outcome(error)}"] += 1
                await asyncio.sleep(0.05)
                continue
            model = answer.model_spec.version.value % MODELS
            soak.compare("gRPC", answer.outputs["expression"].float_val, rows, model)


def grpc_outcome(error) -> str:
    """Returns the status of a failed call, or that it is lost: sent, and never answered."""
    details = error.details() or ""
    is_refusal = details.startswith(("The server is", "The batch scheduling queue"))
    if is_refusal or "failed to connect" in details:  # answered, or never sent
        return error.code().name
    return f"LOST ({error.code().name} {details[:60]})"


def malformed_body() -> bytes:
    body = bytearray(json.dumps({"instances": ["ACGT" * 27 + "AC"] * 3}).encode())
    kind = random.randrange(4)
    if kind == 0:
        return bytes(body[: random.randrange(len(body))])
    if kind == 1:
        return random.randbytes(random.randrange(200))
    if kind == 2:
        return b"[" * random.randrange(1, 50_000)
    return json.dumps({"instances": [random.choice([1, None, {}, [["A"]], {"b64": "?"}])]}).encode()


async def send_bad_requests(soak: Soak) -> None:
    """Sends malformed, oversized and cut-off requests."""
    while not soak.stop.is_set():
        await asyncio.sleep(0.01)
        kind = random.choice(["malformed", "oversized", "cut off"])
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", soak.http)
        except OSError:
            continue
        try:
            if kind == "cut off":
                head = f"POST {servers.PATH} HTTP/1.1\r\ncontent-length: 999\r\n\r\n"
                text = head + "{" * 500
                writer.write(text[: random.randrange(len(text))].encode())
                await writer.drain()
                soak.counts["cut off"] += 1
            else:
                spaces = b" " * random.randint(LIMIT + 1, 10**6)
                body = malformed_body() if kind == "malformed" else spaces
                status, _, _ = await servers.post(reader, writer, body)
                soak.counts[f"{kind}: {status}"] += 1
        except (OSError, asyncio.IncompleteReadError):
            soak.counts[f"{kind}: connection closed"] += 1
        finally:
            writer.close()


async def reload(soak: Soak, versions: list[Path], folder: Path) -> None:
    """Adds a version every few seconds, and removes the one before."""
    number = 1
    while not soak.stop.is_set():
        await asyncio.sleep(RELOAD)
        number += 1
        part = folder / ".part"
        shutil.copytree(versions[number % MODELS], part)
        part.rename(folder / str(number))
        await asyncio.sleep(RELOAD / 2)
        shutil.rmtree(folder / str(number - 1))
        soak.counts["new versions"] += 1


async def live(soak: Soak, folder: Path, seconds: float) -> str:
    """Runs a server for some time and returns its memory as cells of the table."""
    options = ["--port", str(soak.http), "--grpc-port", str(soak.rpc), "--poll", "0.5"]
    options += ["--max-request-bytes", str(LIMIT)]
    server = await asyncio.to_thread(servers.Server, folder, *options)
    samples, end = [], time.monotonic() + seconds
    while time.monotonic() < end and server.process.poll() is None:
        await asyncio.sleep(min(1.0, seconds / 20))
        samples.append(server.memory("VmRSS"))
    code = await asyncio.to_thread(server.stop)
    soak.counts[f"stopped by SIGTERM, exit {code}"] += 1
    fifths = np.array_split(samples, 5)
    return " | ".join(f"{np.median(part):,.0f}" for part in fifths)


async def run(soak: Soak, versions: list[Path], folder: Path, minutes: float) -> list[str]:
    """Runs the clients through the lives of the server; returns its memory in each life."""
    jobs = [ask_rest(soak) for _ in range(REST_CLIENTS)]
    jobs += [ask_grpc(soak) for _ in range(GRPC_CLIENTS)]
    jobs += [send_bad_requests(soak), send_bad_requests(soak), reload(soak, versions, folder)]
    tasks = [asyncio.create_task(job) for job in jobs]
    lives = []
    for i in range(LIVES):
        if i == LIVES - 1:
            asyncio.get_running_loop().call_later(minutes * 60 / LIVES, soak.stop.set)
        lives.append(await live(soak, folder, minutes * 60 / LIVES + (i == LIVES - 1)))
    tasks[-1].cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome
    return lives


def print_tables(counts: collections.Counter, lives: list[str]) -> None:
    print("| what | count |\n|---|---|")
    for name, count in sorted(counts.items()):
        print(f"| {name} | {count:,} |")
    titles = " | ".join(f"memory, fifth {i + 1} of its life, MiB" for i in range(5))
    print(f"\n| server | {titles} |\n" + "|---" * 6 + "|")
    for i, cells in enumerate(lives):
        print(f"| {i + 1} | {cells} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="smoke")
    parser.add_argument("--minutes", type=float, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        exports, folder = Path(name, "exports"), Path(name, "served")
        versions = [servers.export(options.recipe, exports, seed) for seed in range(MODELS)]
        sequences = servers.random_sequences(500)
        predictions = predict_in_process(versions, sequences)
        neighbours = zip(predictions, predictions[1:], strict=False)
        assert all(np.abs(a - b).max() > 1e-3 for a, b in neighbours)
        shutil.copytree(versions[1], folder / "1")
        soak = Soak((free_port(), free_port()), sequences, predictions)
        lives = asyncio.run(run(soak, versions, folder, options.minutes))
    print_tables(soak.counts, lives)
    odd = [name for name in soak.counts if not any(word in name for word in HARMLESS)]
    return int(odd != ["stopped by SIGTERM, exit 0"])


if __name__ == "__main__":
    sys.exit(main())

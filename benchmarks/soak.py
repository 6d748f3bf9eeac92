"""Minutes of load on the embedded server, with all that goes wrong: `serving.py --soak MINUTES`.

Clients over REST and gRPC compare every answer with what the version says in process. Meanwhile
versions come and go, the server is stopped by SIGTERM and started again, and other clients send
what is malformed, oversized or cut off. A request is lost if it was sent over an open connection
and got no answer. Exits 1 if an answer was wrong or a request lost.
"""

from __future__ import annotations

import asyncio
import collections
import json
import random
import shutil
import socket
import tempfile
import time
from pathlib import Path

import numpy as np
import serving  # the benchmark of that name

MODELS, LIVES = 3, 4
REST, GRPC = 12, 4  # clients
RELOAD = 10  # seconds between versions
LIMIT = 100_000  # bytes of a request

Counts = collections.Counter


def expected(versions: list[Path], given: list[str]) -> np.ndarray:
    """Returns what each model says in process: float32 (M, N)."""
    import tensorflow as tf

    calls = [
        tf.saved_model.load(str(version)).signatures["serving_default"] for version in versions
    ]
    return np.stack([call(sequence=tf.constant(given))["expression"].numpy() for call in calls])


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Soak:
    """The state that all clients share."""

    def __init__(self, ports: tuple[int, int], given: list[str], known: np.ndarray):
        self.http, self.rpc = ports
        self.given, self.known = given, known
        self.counts, self.stop = Counts(), asyncio.Event()

    def draw(self) -> np.ndarray:
        return np.random.randint(0, len(self.given), random.choice([1, 1, 1, 8, 64, 300]))

    def judge(self, way: str, values, rows: np.ndarray, model: int | None = None) -> None:
        """Compares with one model, or with any: a REST answer does not say which it was."""
        near = np.isclose(np.float32(values), self.known[:, rows], atol=1e-5).all(axis=1)
        right = near.any() if model is None else near[model]
        self.counts[f"{way}: answers {'right' if right else 'WRONG'}"] += 1


async def rest(soak: Soak) -> None:
    while not soak.stop.is_set():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", soak.http)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        closed = False
        while not (closed or soak.stop.is_set()):
            rows = soak.draw()
            body = json.dumps({"inputs": [soak.given[row] for row in rows]}).encode()
            try:
                status, answer, closed = await serving.post(reader, writer, body)
            except (OSError, asyncio.IncompleteReadError) as error:
                soak.counts[f"REST: LOST ({type(error).__name__})"] += 1
                break
            if status == 200:
                soak.judge("REST", json.loads(answer)["outputs"]["expression"], rows)
            else:
                soak.counts[f"REST: {status}"] += 1
                await asyncio.sleep(0.02)
        writer.close()


async def rpc(soak: Soak) -> None:
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    options = [("grpc.max_reconnect_backoff_ms", 200)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{soak.rpc}", options=options) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        while not soak.stop.is_set():
            rows = soak.draw()
            request = predict_pb2.PredictRequest()
            request.model_spec.name = serving.NAME
            asked = tf.make_tensor_proto([soak.given[row] for row in rows])
            request.inputs["sequence"].CopyFrom(asked)
            try:
                answer = await stub.Predict(request, timeout=60)
            except grpc.aio.AioRpcError as error:
                words = error.details() or ""
                refused = words.startswith(("The server is", "The batch scheduling queue"))
                away = refused or "failed to connect" in words  # it never got there
                what = error.code().name if away else f"LOST ({error.code().name} {words[:60]})"
                soak.counts[f"gRPC: {what}"] += 1
                await asyncio.sleep(0.05)
                continue
            model = answer.model_spec.version.value % MODELS
            soak.judge("gRPC", answer.outputs["expression"].float_val, rows, model)


def malformed() -> bytes:
    body = bytearray(json.dumps({"instances": ["ACGT" * 27 + "AC"] * 3}).encode())
    kind = random.randrange(4)
    if kind == 0:
        return bytes(body[: random.randrange(len(body))])
    if kind == 1:
        return random.randbytes(random.randrange(200))
    if kind == 2:
        return b"[" * random.randrange(1, 50_000)
    return json.dumps({"instances": [random.choice([1, None, {}, [["A"]], {"b64": "?"}])]}).encode()


async def bad(soak: Soak) -> None:
    """Sends what is malformed, oversized and cut off."""
    while not soak.stop.is_set():
        await asyncio.sleep(0.01)
        kind = random.choice(["malformed", "oversized", "cut off"])
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", soak.http)
        except OSError:
            continue
        try:
            if kind == "cut off":
                text = f"POST {serving.PATH} HTTP/1.1\r\ncontent-length: 999\r\n\r\n" + "{" * 500
                writer.write(text[: random.randrange(len(text))].encode())
                await writer.drain()
                soak.counts["cut off"] += 1
            else:
                body = (
                    malformed() if kind == "malformed" else b" " * random.randint(LIMIT + 1, 10**6)
                )
                status, _, _ = await serving.post(reader, writer, body)
                soak.counts[f"{kind}: {status}"] += 1
        except (OSError, asyncio.IncompleteReadError):
            soak.counts[f"{kind}: hung up on"] += 1
        finally:
            writer.close()


async def reload(soak: Soak, made: list[Path], folder: Path) -> None:
    """Adds a version every now and then, and removes the one before."""
    number = 1
    while not soak.stop.is_set():
        await asyncio.sleep(RELOAD)
        number += 1
        part = folder / ".part"
        shutil.copytree(made[number % MODELS], part)
        part.rename(folder / str(number))
        await asyncio.sleep(RELOAD / 2)
        shutil.rmtree(folder / str(number - 1))
        soak.counts["new versions"] += 1


async def live(soak: Soak, folder: Path, seconds: float) -> str:
    """Runs a server for some time and returns its memory as cells of the table."""
    options = ["--port", str(soak.http), "--grpc-port", str(soak.rpc), "--poll", "0.5"]
    options += ["--max-request-bytes", str(LIMIT)]
    server = await asyncio.to_thread(serving.Server, folder, *options)
    samples, end = [], time.monotonic() + seconds
    while time.monotonic() < end and server.process.poll() is None:
        await asyncio.sleep(min(1.0, seconds / 20))
        samples.append(server.memory("VmRSS"))
    code = await asyncio.to_thread(server.end)
    soak.counts[f"stopped by SIGTERM, exit {code}"] += 1
    fifths = np.array_split(samples, 5)
    return " | ".join(f"{np.median(part):,.0f}" for part in fifths)


async def run(soak: Soak, made: list[Path], folder: Path, minutes: float) -> list[str]:
    tasks = [rest(soak) for _ in range(REST)] + [rpc(soak) for _ in range(GRPC)]
    tasks += [bad(soak), bad(soak), reload(soak, made, folder)]
    tasks = [asyncio.create_task(task) for task in tasks]
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


def main(recipe_name: str, minutes: float) -> int:
    with tempfile.TemporaryDirectory() as made:
        out = Path(made, "made")
        versions = [serving.export(recipe_name, out, seed) for seed in range(MODELS)]
        given = serving.sequences(500)
        known = expected(versions, given)
        assert all(np.abs(a - b).max() > 1e-3 for a, b in zip(known, known[1:], strict=False))
        folder = Path(made, "served")
        shutil.copytree(versions[1], folder / "1")
        soak = Soak((free_port(), free_port()), given, known)
        lives = asyncio.run(run(soak, versions, folder, minutes))
    print("| what | count |\n|---|---|")
    for what, count in sorted(soak.counts.items()):
        print(f"| {what} | {count:,} |")
    print(
        "\n| server | "
        + " | ".join(f"memory, fifth {i + 1} of its life, MiB" for i in range(5))
        + " |"
    )
    print("|---" * 6 + "|")
    for i, cells in enumerate(lives):
        print(f"| {i + 1} | {cells} |")
    expected_ones = (
        "answers right",
        "gRPC: UNAVAILABLE",
        ": 503",
        ": 4",
        "cut off",
        "new versions",
    )
    odd = [what for what in soak.counts if not any(known in what for known in expected_ones)]
    return int(odd != ["stopped by SIGTERM, exit 0"])

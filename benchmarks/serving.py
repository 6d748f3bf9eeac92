"""Measures the embedded server beside prediction in process, and batching beside one by one.

    python benchmarks/serving.py [--recipe mini] [--repeats 5] [--seconds 4]
    python benchmarks/serving.py --soak 10 [--recipe smoke]

Two servers of one export (random weights), one that batches and one with --max-batch-size 1, stand
beside a process that calls the SavedModel itself. The turns go round, so that a noisy moment hits
all; only one works at a time; figures are medians of the turns, shares too, of what was measured
in process just before. Clients are a process of their own that shares the machine, over 127.0.0.1;
each sends its next request when it has the answer. One by one is the rate of a single client with
a sequence a request where nothing is batched. The table goes to benchmarks/RESULTS.md. `--soak` is
in soak.py.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import records  # the benchmark of that name, for its save()

NAME, PATH = "camformer", "/v1/models/camformer:predict"
BATCH = 128  # the server's own
ROWS, CLIENTS = (1, 64), (1, 8, 64)
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3"}


def export(recipe_name: str, out: Path, seed: int = 0) -> Path:
    """Exports a network with random weights, and returns the folder of the new version."""
    from camformer_tf import recipe
    from camformer_tf.export import export
    from camformer_tf.model import predict, rescnn

    settings = recipe.load(recipe_name, [f"train.seed={seed}"])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "random.keras")
        predict.save(rescnn.from_recipe(settings), file, settings)
        return export.export([file], out)


def sequences(count: int) -> list[str]:
    draw = random.Random(2022)
    return ["".join(draw.choices("ACGT", k=110)) for _ in range(count)]


# === In process ===


def in_process(folder: str) -> None:
    """Answers each line of standard input, sequences a call and seconds, with sequences/s."""
    import tensorflow as tf

    call = tf.saved_model.load(folder).signatures["serving_default"]
    given = sequences(BATCH)
    print("ready", flush=True)
    for line in sys.stdin:
        rows, seconds = int(line.split()[0]), float(line.split()[1])
        call(sequence=tf.constant(given[:rows]))
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            answer = call(sequence=tf.constant(given[:rows]))
            assert len(answer["expression"].numpy()) == rows
            done += rows
        print(done / (time.perf_counter() - start), flush=True)


# === Clients ===


async def post(reader, writer, body: bytes, path: str = PATH) -> tuple[int, bytes, bool]:
    """Returns status, body, and whether the server closes the connection."""
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:] if line)
    answer = await reader.readexactly(int(headers["content-length"]))
    return int(lines[0].split()[1]), answer, headers.get("connection") == "close"


async def rest_client(address: str, rows: int, end: float, taken: list[float]) -> None:
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = json.dumps({"instances": sequences(rows)}).encode()
    while time.perf_counter() < end:
        start = time.perf_counter()
        status, answer, _ = await post(reader, writer, body)
        assert status == 200 and len(json.loads(answer)["predictions"]) == rows
        taken.append(time.perf_counter() - start)
    writer.close()


async def grpc_client(address: str, rows: int, end: float, taken: list[float]) -> None:
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name = NAME
    tensor = request.inputs["sequence"]
    tensor.dtype = 7  # DT_STRING
    tensor.tensor_shape.dim.add(size=rows)
    tensor.string_val.extend(s.encode() for s in sequences(rows))
    options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        await channel.channel_ready()
        while time.perf_counter() < end:
            start = time.perf_counter()
            answer = await stub.Predict(request)
            assert len(answer.outputs["expression"].float_val) == rows
            taken.append(time.perf_counter() - start)


def clients(way: str, address: str, count: str, rows: str, seconds: str) -> None:
    """Prints sequences/s, and the median and 99th percentile of what a request takes (ms)."""
    client = {"REST": rest_client, "gRPC": grpc_client}[way]
    taken: list[float] = []

    async def main() -> float:
        if way == "gRPC":
            await client(address, 1, 0, [])  # imports
        start = time.perf_counter()
        end = start + float(seconds)
        await asyncio.gather(*(client(address, int(rows), end, taken) for _ in range(int(count))))
        return time.perf_counter() - start

    spent = asyncio.run(main())
    cuts = statistics.quantiles(taken, n=100) if len(taken) > 1 else taken * 99
    print(len(taken) * int(rows) / spent, cuts[49] * 1e3, cuts[98] * 1e3)


# === The whole ===


class Server:
    """A `camformer-tf serve`, started."""

    def __init__(self, folder: Path, *options: str):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "camformer_tf.cli", "serve", str(folder), "--quiet", *options],
            stdout=subprocess.PIPE, text=True, env=os.environ | QUIET,
        )  # fmt: skip
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the server ended; see above")
        http, _, rpc = line.split("REST at ")[1].strip().partition("/, gRPC at ")
        self.addresses = {"REST": http.rstrip("/"), "gRPC": rpc}

    def memory(self, field: str = "VmHWM") -> float:
        """Returns its peak memory (MiB), or with VmRSS that of now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition(f"{field}:")[2].split()[0]) / 1024

    def end(self) -> int:
        self.process.terminate()
        return self.process.wait(60)


def apart(*arguments: str) -> list[float]:
    command = [sys.executable, __file__, "--one", *arguments]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | QUIET
    )
    return [float(value) for value in done.stdout.split()]


def measure(version: Path, repeats: int, seconds: float) -> tuple[dict, dict, dict[str, float]]:
    """Returns sequences/s in process by rows; by case sequences/s, the median and 99th percentile
    of what a request takes (ms), and the share of the rate in process; and peak memory (MiB)."""
    ports = ("--port", "0", "--grpc-port", "0")
    servers = {
        "batching": Server(version.parent, *ports),
        "one by one": Server(version.parent, *ports, "--max-batch-size", "1"),
    }
    alone = subprocess.Popen(
        [sys.executable, __file__, "--one", "in_process", str(version)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | QUIET,
    )  # fmt: skip
    assert alone.stdout.readline() == "ready\n"
    cases = [("batching", w, c, r) for r in ROWS for w in ("REST", "gRPC") for c in CLIENTS]
    cases += [("one by one", "REST", count, 1) for count in CLIENTS]
    rates = {rows: [] for rows in (*ROWS, BATCH)}
    found = {case: [] for case in cases}

    def in_process_rate(rows: int, seconds: float) -> float:
        print(rows, seconds, file=alone.stdin, flush=True)
        return float(alone.stdout.readline())

    for turn in range(repeats + 1):  # the first one warms up
        for rows, kept in rates.items():
            kept.append(in_process_rate(rows, seconds))
        for case in cases:
            kind, way, count, rows = case
            numbers = map(str, (count, rows, seconds))
            just_before = in_process_rate(BATCH, seconds / 2)
            figures = apart("clients", way, servers[kind].addresses[way], *numbers)
            found[case].append([*figures, figures[0] / just_before])
        print(f"turn {turn} of {repeats}", file=sys.stderr, flush=True)
    memory = {kind: server.memory() for kind, server in servers.items()}
    alone.kill()
    alone.wait()
    assert all(server.end() == 0 for server in servers.values())
    medians = {rows: statistics.median(kept[1:]) for rows, kept in rates.items()}
    figures = {
        case: [statistics.median(column) for column in zip(*turns[1:], strict=True)]
        for case, turns in found.items()
    }
    return medians, figures, memory


def main(recipe_name: str, repeats: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        version = export(recipe_name, Path(folder, "exports"))
        rates, found, memory = measure(version, repeats, seconds)
    best, one_by_one = rates[BATCH], found["one by one", "REST", 1, 1][0]
    lines = [
        "| way | clients | sequences a request | sequences/s | of that in process | "
        "÷ one by one | p50, ms | p99, ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for rows, rate in rates.items():
        lines.append(f"| in process | | {rows} | {rate:,.0f} | {rate / best:.0%} | | | |")
    for (kind, way, count, rows), (rate, p50, p99, share) in found.items():
        lines.append(
            f"| {kind}, {way} | {count} | {rows} | {rate:,.0f} | {share:.0%} | "
            f"{rate / one_by_one:.1f} | {p50:.1f} | {p99:.1f} |"
        )
    peaks = ", ".join(f"{kind} {mebi:,.0f}" for kind, mebi in memory.items())
    about = (
        f"{os.cpu_count()} cores ({records.processor()}), clients on the same; medians of "
        f"{repeats} turns of {seconds:g} s. Peak memory of the server, MiB: {peaks}."
    )
    records.save(f"Serving: {recipe_name}", f"{about}\n\n" + "\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="mini")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--soak", type=float, metavar="MINUTES")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        globals()[chosen.one[0]](*chosen.one[1:])
    elif chosen.soak:
        import soak

        sys.exit(soak.main(chosen.recipe, chosen.soak))
    else:
        main(chosen.recipe, chosen.repeats, chosen.seconds)

"""Measures the embedded server beside prediction in process, and batching beside single requests.

    python benchmarks/serving.py [--recipe mini] [--repeats 5] [--seconds 4]

Two servers serve one export (random weights): one batches, the other has --max-batch-size 1. A
third process calls the SavedModel directly. They take turns, so that a noisy moment hits all and
only one works at any time. Figures are medians of the turns; so are the shares, each a share of the
rate in process measured just before. The clients are a process of their own on the same machine,
over 127.0.0.1; each sends its next request when it has the answer. "One by one" is the rate of a
single client that sends single sequences to the server without batching. The table goes to
benchmarks/RESULTS.md. benchmarks/soak.py puts the server under load for minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness
import servers

BATCH = 128  # the server's default
ROWS, CLIENTS = (1, 64), (1, 8, 64)
Case = tuple[str, str, int, int]  # kind of server, API, clients, sequences in a request


# === In process ===


def predict_in_process(folder: str) -> None:
    """Answers each line of standard input, rows and seconds, with sequences/s of the SavedModel."""
    import tensorflow as tf

    call = tf.saved_model.load(folder).signatures["serving_default"]
    sequences = servers.random_sequences(BATCH)
    print("ready", flush=True)
    for line in sys.stdin:
        rows, seconds = int(line.split()[0]), float(line.split()[1])
        call(sequence=tf.constant(sequences[:rows]))
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            answer = call(sequence=tf.constant(sequences[:rows]))
            assert len(answer["expression"].numpy()) == rows
            count += rows
        print(count / (time.perf_counter() - start), flush=True)


# === Clients ===


async def rest_client(address: str, rows: int, end: float, durations: list[float]) -> None:
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = json.dumps({"instances": servers.random_sequences(rows)}).encode()
    while time.perf_counter() < end:
        start = time.perf_counter()
        status, answer, _ = await servers.post(reader, writer, body)
        assert status == 200 and len(json.loads(answer)["predictions"]) == rows
        durations.append(time.perf_counter() - start)
    writer.close()


async def grpc_client(address: str, rows: int, end: float, durations: list[float]) -> None:
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name = servers.NAME
    tensor = request.inputs["sequence"]
    tensor.dtype = 7  # DT_STRING
    tensor.tensor_shape.dim.add(size=rows)
    tensor.string_val.extend(sequence.encode() for sequence in servers.random_sequences(rows))
    options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        await channel.channel_ready()
        while time.perf_counter() < end:
            start = time.perf_counter()
            answer = await stub.Predict(request)
            assert len(answer.outputs["expression"].float_val) == rows
            durations.append(time.perf_counter() - start)


def run_clients(api: str, address: str, count: str, rows: str, seconds: str) -> None:
    """Prints sequences/s, and the median and 99th percentile of a request's duration (ms)."""
    client = {"REST": rest_client, "gRPC": grpc_client}[api]
    durations: list[float] = []

    async def run() -> float:
        if api == "gRPC":
            await client(address, 1, 0, [])  # imports
        start = time.perf_counter()
        end = start + float(seconds)
        tasks = (client(address, int(rows), end, durations) for _ in range(int(count)))
        await asyncio.gather(*tasks)
        return time.perf_counter() - start

    seconds_taken = asyncio.run(run())
    cuts = statistics.quantiles(durations, n=100) if len(durations) > 1 else durations * 99
    print(len(durations) * int(rows) / seconds_taken, cuts[49] * 1e3, cuts[98] * 1e3)


# === The table ===


def measure(
    version: Path, repeats: int, seconds: float
) -> tuple[dict[int, float], dict[Case, list[float]], dict[str, float]]:
    """Returns sequences/s in process by rows; by case sequences/s, the median and 99th percentile
    of a request's duration (ms), and the share of the rate in process; and peak memory (MiB)."""
    ports = ("--port", "0", "--grpc-port", "0")
    running = {
        "batching": servers.Server(version.parent, *ports),
        "one by one": servers.Server(version.parent, *ports, "--max-batch-size", "1"),
    }
    process = subprocess.Popen(
        harness.part_command(__file__, "in_process", version),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=harness.QUIET,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    cases = [("batching", api, c, r) for r in ROWS for api in ("REST", "gRPC") for c in CLIENTS]
    cases += [("one by one", "REST", count, 1) for count in CLIENTS]
    rates: dict[int, list[float]] = {rows: [] for rows in (*ROWS, BATCH)}
    turns: dict[Case, list[list[float]]] = {case: [] for case in cases}

    def in_process_rate(rows: int, seconds: float) -> float:
        print(rows, seconds, file=process.stdin, flush=True)
        return float(process.stdout.readline())

    for turn in range(repeats + 1):  # the first one warms up
        for rows, values in rates.items():
            values.append(in_process_rate(rows, seconds))
        for case in cases:
            kind, api, count, rows = case
            reference = in_process_rate(BATCH, seconds / 2)
            address = running[kind].addresses[api]
            line = harness.run_part(__file__, "clients", api, address, count, rows, seconds)
            figures = [float(word) for word in line.split()]
            turns[case].append([*figures, figures[0] / reference])
        print(f"turn {turn} of {repeats}", file=sys.stderr, flush=True)
    memory = {kind: server.memory() for kind, server in running.items()}
    process.kill()
    process.wait()
    assert all(server.stop() == 0 for server in running.values())
    medians = {rows: statistics.median(values[1:]) for rows, values in rates.items()}
    figures = {
        case: [statistics.median(column) for column in zip(*rows[1:], strict=True)]
        for case, rows in turns.items()
    }
    return medians, figures, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="mini")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parts = {"in_process": predict_in_process, "clients": run_clients}
    options = harness.parse(parser, parts)
    with tempfile.TemporaryDirectory() as folder:
        version = servers.export(options.recipe, Path(folder, "exports"))
        rates, figures, memory = measure(version, options.repeats, options.seconds)
    best, one_by_one = rates[BATCH], figures["one by one", "REST", 1, 1][0]
    lines = [
        "| way | clients | sequences a request | sequences/s | of that in process | "
        "÷ one by one | p50, ms | p99, ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for rows, rate in rates.items():
        lines.append(f"| in process | | {rows} | {rate:,.0f} | {rate / best:.0%} | | | |")
    for (kind, api, count, rows), (rate, p50, p99, share) in figures.items():
        lines.append(
            f"| {kind}, {api} | {count} | {rows} | {rate:,.0f} | {share:.0%} | "
            f"{rate / one_by_one:.1f} | {p50:.1f} | {p99:.1f} |"
        )
    peaks = ", ".join(f"{kind} {mebibytes:,.0f}" for kind, mebibytes in memory.items())
    intro = (
        f"{harness.machine()}, shared with the clients; medians of {options.repeats} turns of "
        f"{options.seconds:g} s. Peak memory of the server, MiB: {peaks}."
    )
    harness.save(f"Serving: {options.recipe}", f"{intro}\n\n" + "\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()

"""Measures writing and reading records beside other ways to do it, in one run.

    python benchmarks/records.py [--text FILE | --lines 300000] [--repeats 3]

Without a text, it simulates one with that number of lines, an eighth of which the filters must
handle. Every measurement is a process of its own, so that its peak memory is its own too; the
measurements alternate, and rates are medians. The table goes to benchmarks/RESULTS.md.

Side by side: camformer_tf; tf.train.Example written one by one with tf.io.TFRecordWriter and read
with TFRecordDataset + parse_example, TensorFlow's own way; and the original's way of reading and
encoding everything into Python lists, rewritten from the description of script:482-554,
FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69. The other writers apply the same filters. Of a long
text they take only the first lines: each line costs them the same, and lists of all do not fit.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import platform
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import harness

PEER_LINES = 500_000


# === Writers: text → records, seconds and lines ===


def write_records(text: Path, out: Path, *, leakage: bool = True) -> tuple[float, int]:
    from camformer_tf.data import records

    start = time.perf_counter()
    manifest = records.build_records(
        text, out, on_malformed="skip", workers=os.cpu_count() or 1, leakage=leakage
    )
    return time.perf_counter() - start, manifest.counts["lines"]


def write_records_without_leakage(text: Path, out: Path) -> tuple[float, int]:
    return write_records(text, out, leakage=False)


def filtered_lines(text: Path, counts: list[int]):
    """Yields the letters and the expression of every line that passes the filters."""
    with text.open("rb") as lines:
        for line in itertools.islice(lines, PEER_LINES):
            fields = line.split()
            counts[0] += bool(fields)
            try:
                letters, expression = fields[0].upper(), float(fields[1])
            except (IndexError, ValueError):
                continue
            if (
                len(fields) > 2
                or letters.translate(None, b"ACGTN")
                or not math.isfinite(expression)
            ):
                continue
            if letters.count(b"N") <= 3 and abs(len(letters) - 110) <= 3:
                yield letters[:110].ljust(110, b"N"), expression


def write_single_examples(text: Path, out: Path) -> tuple[float, int]:
    import tensorflow as tf

    out.mkdir()
    start, counts = time.perf_counter(), [0]
    with tf.io.TFRecordWriter(str(out / "all.tfrecord")) as writer:
        for letters, expression in filtered_lines(text, counts):
            feature = {
                "sequence": tf.train.Feature(bytes_list=tf.train.BytesList(value=[letters])),
                "expression": tf.train.Feature(float_list=tf.train.FloatList(value=[expression])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString(deterministic=True))
    return time.perf_counter() - start, counts[0]


def encode_into_lists(text: Path, out: Path) -> tuple[float, int]:
    import numpy as np

    codes = {letter: [int(letter == channel) for channel in b"ACGT"] for letter in b"ACGTN"}
    start, counts = time.perf_counter(), [0]
    onehot, values = [], []
    for letters, expression in filtered_lines(text, counts):
        onehot.append([codes[letter] for letter in letters])
        values.append(expression)
    np.array(onehot, np.float32)  # (N, L, 4)
    return time.perf_counter() - start, counts[0]


# === Readers: records → batches, seconds and sequences ===


def drain(batches) -> tuple[float, int]:
    """Returns the seconds in which a graph takes every batch, as a training does, and the number
    of sequences."""
    import tensorflow as tf

    @tf.function
    def count(dataset):
        total = tf.constant(0)
        for letters, _ in dataset:
            total += tf.shape(letters)[0]
        return total

    count(batches.take(1))  # the trace
    start = time.perf_counter()
    total = count(batches)
    return time.perf_counter() - start, int(total)


def read_batches(record_set: Path, mode: str, *, onehot: bool = False) -> tuple[float, int]:
    import tensorflow as tf

    from camformer_tf.batches import dataset
    from camformer_tf.data import sequence

    batches = dataset.batches(record_set, batch_size=1024, seed=1, mode=mode).epoch(0)
    if onehot:
        table = tf.constant(sequence.table("onehot"))
        batches = batches.map(
            lambda letters, y: (tf.gather(table, tf.cast(letters, tf.int32)), y),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
    return drain(batches)


def read_memory(record_set: Path, out: Path) -> tuple[float, int]:
    return read_batches(record_set, "memory")


def read_memory_onehot(record_set: Path, out: Path) -> tuple[float, int]:
    return read_batches(record_set, "memory", onehot=True)


def read_stream(record_set: Path, out: Path) -> tuple[float, int]:
    return read_batches(record_set, "stream")


def read_parse_example(record_set: Path, out: Path) -> tuple[float, int]:
    import tensorflow as tf

    features = {
        "sequence": tf.io.FixedLenFeature([], tf.string),
        "expression": tf.io.FixedLenFeature([], tf.float32),
    }

    def parse(batch):
        columns = tf.io.parse_example(batch, features)
        return tf.io.decode_raw(columns["sequence"], tf.uint8), columns["expression"]

    files = sorted(str(path) for path in record_set.glob("train-*"))
    batches = tf.data.TFRecordDataset(files).batch(1024, drop_remainder=True)
    return drain(batches.map(parse, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2))


WRITERS = {
    "write: camformer_tf": write_records,
    "write: camformer_tf, near neighbours not counted": write_records_without_leakage,
    "write: tf.train.Example one by one": write_single_examples,
    "read and encode into lists, as the original": encode_into_lists,
}
READERS = {
    "read: camformer_tf, from memory": read_memory,
    "read: camformer_tf, from memory, one-hot": read_memory_onehot,
    "read: camformer_tf, streamed": read_stream,
    "read: TFRecordDataset + parse_example": read_parse_example,
}
PEERS = "write: tf.train.Example one by one", "read: TFRecordDataset + parse_example"
FUNCTIONS = WRITERS | READERS


# === The table ===


def print_measurement(name: str, source: str, out: str) -> None:
    """Prints seconds, sequences, and peak memory (MiB, of the process or its largest child)."""
    seconds, sequences = FUNCTIONS[name](Path(source), Path(out))
    peaks = [
        resource.getrusage(processes).ru_maxrss
        for processes in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    print(seconds, sequences, max(peaks) / 1024)


def measure(name: str, source: Path, out: Path) -> tuple[float, int, float]:
    seconds, sequences, peak = harness.run_part(__file__, "measure", name, source, out).split()
    return float(seconds), int(sequences), float(peak)


def measure_all(text: Path, repeats: int) -> str:
    measurements: dict[str, list[tuple[float, int, float]]] = {name: [] for name in FUNCTIONS}
    with tempfile.TemporaryDirectory() as folder:
        records = Path(folder, "records")
        # In a process of its own: the peak of a child is never less than that of its parent.
        measure("write: camformer_tf", text, records)
        for _ in range(repeats):
            for i, name in enumerate(FUNCTIONS):
                source, out = text if name in WRITERS else records, Path(folder, f"out-{i}")
                measurements[name].append(measure(name, source, out))
                shutil.rmtree(out, ignore_errors=True)
    lines = ["| what | sequences | sequences/s | ratio | peak memory of a process, MiB |",
             "|---|---|---|---|---|"]  # fmt: skip
    rates = {
        name: statistics.median(count / seconds for seconds, count, _ in rows)
        for name, rows in measurements.items()
    }
    for group, peer in zip((WRITERS, READERS), PEERS, strict=True):
        for name in group:
            count, rate, ratio = measurements[name][0][1], rates[name], rates[name] / rates[peer]
            peak = statistics.median(peak for *_, peak in measurements[name])
            lines.append(f"| {name} | {count:,} | {rate:,.0f} | {ratio:.1f} | {peak:,.0f} |")
    return "\n".join(lines)


def simulate_lines(folder: Path, lines: int) -> Path:
    """Returns a text of simulated lines, good and bad ones."""
    library, text = folder / "whole.txt", folder / "lines.txt"
    harness.camformer_tf("simulate", library, "--sequences", lines, "--dirty")
    with library.open("rb") as source, text.open("wb") as out:
        out.writelines(itertools.islice(source, lines))
    library.unlink()
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--lines", type=int, default=300_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = harness.parse(parser, {"measure": print_measurement})
    with tempfile.TemporaryDirectory() as folder:
        text = options.text or simulate_lines(Path(folder), options.lines)
        table = measure_all(text, options.repeats)
    title = options.text.name if options.text else f"{options.lines:,} simulated lines"
    intro = (
        f"{harness.machine()}, Python {platform.python_version()}; medians of {options.repeats}; "
        "imports not counted, starting worker processes counted."
    )
    harness.save(f"Records: {title}", f"{intro}\n\n{table}")
    print(table)


if __name__ == "__main__":
    main()

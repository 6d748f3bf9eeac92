"""Measures writing and reading records beside other ways to do it, in one run.

    python benchmarks/records.py [--text FILE | --lines 300000] [--repeats 3]

Without a text, it simulates one of so many lines, of which an eighth are such as the filters must
handle. Every measurement is a process of its own, interleaved, so that peak memory is its own too;
rates are medians. The table goes to benchmarks/RESULTS.md.

Side by side: camformer_tf; tf.train.Example written one at a time by tf.io.TFRecordWriter and read
by TFRecordDataset + parse_example, TensorFlow's own way; and the original's way of reading and
encoding everything into Python lists, written anew from the description of script:482-554,
FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69. The other writers apply the same filters, to the
first lines only where there are many: they take each line alike, and lists of all would not fit.
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
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PEER_LINES = 500_000
RESULTS = Path(__file__).parent / "RESULTS.md"


def write_ours(text: Path, out: Path, *, leakage: bool = True) -> tuple[float, int]:
    from camformer_tf import recipe
    from camformer_tf.data import records, rules

    config = recipe.RecordsConfig(on_malformed="skip", workers=os.cpu_count(), leakage=leakage)
    start = time.perf_counter()
    made = records.write([text], out, rule=rules.Rule(), config=config)
    return time.perf_counter() - start, made.counts["lines"]


def write_ours_without_leakage(text: Path, out: Path) -> tuple[float, int]:
    return write_ours(text, out, leakage=False)


def kept_lines(text: Path, counted: list[int]):
    """Yields what the filters keep of the first lines, one at a time."""
    with text.open("rb") as lines:
        for line in itertools.islice(lines, PEER_LINES):
            fields = line.split()
            counted[0] += bool(fields)
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


def write_one_at_a_time(text: Path, out: Path) -> tuple[float, int]:
    import tensorflow as tf

    out.mkdir()
    start, counted = time.perf_counter(), [0]
    with tf.io.TFRecordWriter(str(out / "all.tfrecord")) as writer:
        for letters, expression in kept_lines(text, counted):
            feature = {
                "sequence": tf.train.Feature(bytes_list=tf.train.BytesList(value=[letters])),
                "expression": tf.train.Feature(float_list=tf.train.FloatList(value=[expression])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString(deterministic=True))
    return time.perf_counter() - start, counted[0]


def encode_into_lists(text: Path, out: Path) -> tuple[float, int]:
    import numpy as np

    codes = {letter: [int(letter == other) for other in b"ACGT"] for letter in b"ACGTN"}
    start, counted = time.perf_counter(), [0]
    onehot, values = [], []
    for letters, expression in kept_lines(text, counted):
        onehot.append([codes[letter] for letter in letters])
        values.append(expression)
    np.array(onehot, np.float32)
    return time.perf_counter() - start, counted[0]


def drain(batches) -> tuple[float, int]:
    """Seconds until a graph has taken every batch, as the training step does, and the sequences."""
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


def _read(records: Path, mode: str, encoded: bool) -> tuple[float, int]:
    import tensorflow as tf

    from camformer_tf.batches import dataset
    from camformer_tf.data import sequence

    batches = dataset.load(records, "train", 1024, seed=1, mode=mode).epoch(0)
    if encoded:
        table = tf.constant(sequence.table("onehot"))
        batches = batches.map(
            lambda letters, y: (tf.gather(table, tf.cast(letters, tf.int32)), y),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
    return drain(batches)


def read_memory(records: Path, out: Path) -> tuple[float, int]:
    return _read(records, "memory", False)


def read_memory_encoded(records: Path, out: Path) -> tuple[float, int]:
    return _read(records, "memory", True)


def read_stream(records: Path, out: Path) -> tuple[float, int]:
    return _read(records, "stream", False)


def read_parse_example(records: Path, out: Path) -> tuple[float, int]:
    import tensorflow as tf

    features = {
        "sequence": tf.io.FixedLenFeature([], tf.string),
        "expression": tf.io.FixedLenFeature([], tf.float32),
    }

    def parse(batch):
        parsed = tf.io.parse_example(batch, features)
        return tf.io.decode_raw(parsed["sequence"], tf.uint8), parsed["expression"]

    files = sorted(str(path) for path in records.glob("train-*"))
    batches = tf.data.TFRecordDataset(files).batch(1024, drop_remainder=True)
    return drain(batches.map(parse, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2))


WRITERS = {
    "write: camformer_tf": write_ours,
    "write: camformer_tf, near neighbours not counted": write_ours_without_leakage,
    "write: tf.train.Example one at a time": write_one_at_a_time,
    "read and encode into lists, as the original": encode_into_lists,
}
READERS = {
    "read: camformer_tf, from memory": read_memory,
    "read: camformer_tf, from memory, one-hot": read_memory_encoded,
    "read: camformer_tf, streamed": read_stream,
    "read: TFRecordDataset + parse_example": read_parse_example,
}
PEERS = "write: tf.train.Example one at a time", "read: TFRecordDataset + parse_example"


def measure(function: str, source: Path, out: Path) -> tuple[float, int, float]:
    """Returns seconds, sequences, and peak memory (MiB, of the process and its largest child)."""
    arguments = [sys.executable, __file__, "--one", function, str(source), str(out)]
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{function}:\n{done.stderr}")
    seconds, sequences, peak = done.stdout.split()[-3:]
    return float(seconds), int(sequences), float(peak)


def run_one(function: str, source: str, out: str) -> None:
    seconds, sequences = globals()[function](Path(source), Path(out))
    usage = [resource.getrusage(who).ru_maxrss for who in (0, resource.RUSAGE_CHILDREN)]
    print(seconds, sequences, max(usage) / 1024)


def run_all(text: Path, repeats: int) -> str:
    found: dict[str, list[tuple[float, int, float]]] = {name: [] for name in WRITERS | READERS}
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "records")
        measure("write_ours", text, made)  # not here: a child's peak is its parent's at least
        for _ in range(repeats):
            for i, (name, function) in enumerate((WRITERS | READERS).items()):
                source, out = text if name in WRITERS else made, Path(folder, f"out-{i}")
                found[name].append(measure(function.__name__, source, out))
                shutil.rmtree(out, ignore_errors=True)
    lines = ["| what | sequences | sequences/s | ratio | peak memory of a process, MiB |",
             "|---|---|---|---|---|"]  # fmt: skip
    rates = {name: statistics.median(n / s for s, n, _ in rows) for name, rows in found.items()}
    for group, peer in zip((WRITERS, READERS), PEERS, strict=True):
        for name in group:
            count, rate, ratio = found[name][0][1], rates[name], rates[name] / rates[peer]
            peak = statistics.median(peak for *_, peak in found[name])
            lines.append(f"| {name} | {count:,} | {rate:,.0f} | {ratio:.1f} | {peak:,.0f} |")
    return "\n".join(lines)


def processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(": ")[2] if names else platform.machine()


def save(section: str, body: str) -> None:
    """Puts a section of RESULTS.md in place of the one of that name."""
    text = RESULTS.read_text() if RESULTS.exists() else "# Results\n"
    parts = [part for part in text.split("\n## ") if not part.startswith(section + "\n")]
    RESULTS.write_text("\n## ".join([*parts, f"{section}\n\n{body}\n"]))


def main(text: Path | None, lines: int, repeats: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        what = text and text.name
        if not text:
            whole, text = Path(folder, "whole.txt"), Path(folder, "library.txt")
            arguments = [str(whole), "--sequences", str(lines), "--dirty", "--quiet"]
            command = [sys.executable, "-m", "camformer_tf.cli", "simulate", *arguments]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            with whole.open("rb") as source, text.open("wb") as out:
                out.writelines(itertools.islice(source, lines))
            whole.unlink()
            what = f"{lines:,} simulated lines"
        table = run_all(text, repeats)
    intro = (
        f"{os.cpu_count()} cores ({processor()}), Python {platform.python_version()}; medians of "
        f"{repeats}; imports not counted, starting worker processes counted."
    )
    save(f"Records: {what}", f"{intro}\n\n{table}")
    print(table)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--text", type=Path)
    options.add_argument("--lines", type=int, default=300_000)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.one:
        run_one(*chosen.one)
    else:
        main(chosen.text, chosen.lines, chosen.repeats)

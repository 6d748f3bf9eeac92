"""Measures writing and reading records beside other ways to do it, in one run.

    python benchmarks/records.py [--sequences 300000] [--repeats 3]

Every measurement is a process of its own, interleaved, so that peak memory is its own too; rates
are medians. The table goes to benchmarks/RESULTS.md, section "Records".

Side by side: camformer_tf; tf.train.Example written one at a time by tf.io.TFRecordWriter and read
by TFRecordDataset + parse_example, TensorFlow's own way; and the original's way of reading and
encoding everything into Python lists, written anew from the description of script:482-554,
FredrikSvenssonUK/DREAM2022_Camformers@6fd5d69.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"


def write_ours(text: Path, out: Path) -> float:
    from camformer_tf import recipe
    from camformer_tf.data import records, rules

    config = recipe.RecordsConfig(leakage=False, workers=os.cpu_count())
    start = time.perf_counter()
    records.write([text], out, rule=rules.Rule(), config=config)
    return time.perf_counter() - start


def write_ours_leakage(text: Path, out: Path) -> float:
    from camformer_tf import recipe
    from camformer_tf.data import records, rules

    config = recipe.RecordsConfig(workers=os.cpu_count())
    start = time.perf_counter()
    records.write([text], out, rule=rules.Rule(), config=config)
    return time.perf_counter() - start


def write_one_at_a_time(text: Path, out: Path) -> float:
    import tensorflow as tf

    out.mkdir()
    start = time.perf_counter()
    with tf.io.TFRecordWriter(str(out / "all.tfrecord")) as writer, text.open() as lines:
        for line in lines:
            sequence, expression = line.split()
            feature = {
                "sequence": tf.train.Feature(
                    bytes_list=tf.train.BytesList(value=[sequence.encode()])
                ),
                "expression": tf.train.Feature(
                    float_list=tf.train.FloatList(value=[float(expression)])
                ),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString(deterministic=True))
    return time.perf_counter() - start


def encode_into_lists(text: Path, out: Path) -> float:
    import numpy as np

    letters = {"A": [1, 0, 0, 0], "C": [0, 1, 0, 0], "G": [0, 0, 1, 0], "T": [0, 0, 0, 1]}
    start = time.perf_counter()
    onehot, expression = [], []
    with text.open() as lines:
        for line in lines:
            sequence, value = line.split()
            if sequence.count("N") <= 3 and abs(len(sequence) - 110) <= 3:
                padded = sequence[:110].ljust(110, "N")
                onehot.append([letters.get(letter, [0, 0, 0, 0]) for letter in padded])
                expression.append(float(value))
    np.array(onehot, np.float32)
    return time.perf_counter() - start


def drain(batches) -> float:
    """Seconds until a graph has taken every batch, as the training step does."""
    import tensorflow as tf

    @tf.function
    def count(dataset):
        total = tf.constant(0)
        for letters, _ in dataset:
            total += tf.shape(letters)[0]
        return total

    count(batches.take(1))  # the trace
    start = time.perf_counter()
    count(batches)
    return time.perf_counter() - start


def _read(records: Path, mode: str, encoded: bool) -> float:
    import tensorflow as tf

    from camformer_tf.data import dataset, sequence

    batches = dataset.load(records, "train", 1024, seed=1, mode=mode).epoch(0)
    if encoded:
        table = tf.constant(sequence.table("onehot"))
        batches = batches.map(
            lambda letters, y: (tf.gather(table, tf.cast(letters, tf.int32)), y),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
    return drain(batches)


def read_memory(records: Path, out: Path) -> float:
    return _read(records, "memory", False)


def read_memory_encoded(records: Path, out: Path) -> float:
    return _read(records, "memory", True)


def read_stream(records: Path, out: Path) -> float:
    return _read(records, "stream", False)


def read_parse_example(records: Path, out: Path) -> float:
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
    "write: camformer_tf, near neighbours counted": write_ours_leakage,
    "write: tf.train.Example one at a time": write_one_at_a_time,
    "read and encode into lists, as the original": encode_into_lists,
}
READERS = {
    "read: camformer_tf, from memory": read_memory,
    "read: camformer_tf, from memory, one-hot": read_memory_encoded,
    "read: camformer_tf, streamed": read_stream,
    "read: TFRecordDataset + parse_example": read_parse_example,
}


def measure(function: str, source: Path, out: Path) -> tuple[float, float]:
    """Returns seconds and peak memory (MiB, of the process and of its largest child)."""
    arguments = [sys.executable, __file__, "--one", function, str(source), str(out)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    seconds, peak = done.stdout.split()[-2:]
    return float(seconds), float(peak)


def run_one(function: str, source: str, out: str) -> None:
    seconds = globals()[function](Path(source), Path(out))
    usage = [resource.getrusage(who).ru_maxrss for who in (0, resource.RUSAGE_CHILDREN)]
    print(seconds, max(usage) / 1024)


def run_all(sequences: int, repeats: int) -> str:
    from camformer_tf.data import manifest, records, rules, simulate

    with tempfile.TemporaryDirectory() as folder:
        text, made = Path(folder, "library.txt"), Path(folder, "records")
        simulate.write(text, sequences)
        records.write([text], made, rule=rules.Rule())
        training = manifest.load(made).examples("train")
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in WRITERS | READERS}
        for repeat in range(repeats):
            for i, (name, function) in enumerate((WRITERS | READERS).items()):
                source = text if name in WRITERS else made
                out = Path(folder, f"out-{repeat}-{i}")
                found[name].append(measure(function.__name__, source, out))
    lines = [
        f"{sequences:,} simulated lines; {os.cpu_count()} cores ({processor()}), Python "
        f"{platform.python_version()}; medians of {repeats}; imports not counted, starting worker "
        "processes counted.",
        "",
        "| what | sequences/s | ratio | peak memory of a process, MiB |",
        "|---|---|---|---|",
    ]
    for group, size in ((WRITERS, sequences), (READERS, training)):
        peer = [name for name in group if "tf.train" in name or "parse_example" in name][0]
        base = statistics.median(seconds for seconds, _ in found[peer])
        for name in group:
            seconds = statistics.median(s for s, _ in found[name])
            peak = statistics.median(p for _, p in found[name])
            lines.append(f"| {name} | {size / seconds:,.0f} | {base / seconds:.1f} | {peak:,.0f} |")
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


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sequences", type=int, default=300_000)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.one:
        run_one(*chosen.one)
    else:
        table = run_all(chosen.sequences, chosen.repeats)
        save("Records", table)
        print(table)

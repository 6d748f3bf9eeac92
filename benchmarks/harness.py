"""What the benchmarks share: processes of their own, simulated records, the sections of RESULTS.md.

A benchmark measures each part of its work in a new process, so that neither memory nor threads of
one part change another. `parse` runs a part, `run_part` starts the process for it.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
SAMPLE = ROOT / "tfrecords" / "sample"
CAMFORMER_TF = (sys.executable, "-m", "camformer_tf")
QUIET = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}


def processor() -> str:
    """Returns the name of the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def machine() -> str:
    """Returns the number of cores and the processor: "2 cores (AMD EPYC)"."""
    return f"{os.cpu_count()} cores ({processor()})"


def save(section: str, body: str) -> None:
    """Replaces a section of RESULTS.md, or appends it."""
    text = RESULTS.read_text() if RESULTS.exists() else "# Results\n"
    sections = [part for part in text.split("\n## ") if not part.startswith(section + "\n")]
    RESULTS.write_text("\n## ".join([*sections, f"{section}\n\n{body}\n"]))


def camformer_tf(*words: object) -> None:
    """Runs a command of camformer-tf and drops what it prints."""
    command = [*CAMFORMER_TF, *map(str, words), "--quiet"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def simulate_records(folder: Path, sequences: int, *options: object, seed: int = 42) -> Path:
    """Simulates a library and returns its record set; the options are those of build-records."""
    text, records = folder / "library.txt", folder / "records"
    camformer_tf("simulate", text, "--sequences", sequences, "--seed", seed)
    camformer_tf("build-records", text, records, *options)
    return records


def part_command(script: str, *words: object) -> list[str]:
    """Returns the command that runs one part of a benchmark in a process of its own."""
    return [sys.executable, script, "--part", *map(str, words)]


def run_part(script: str, *words: object) -> str:
    """Runs one part of a benchmark in a process of its own and returns the last line it prints."""
    command = part_command(script, *words)
    process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=QUIET)
    return process.stdout.splitlines()[-1]


def peak_memory(process_id: int, field: str = "VmHWM") -> float:
    """Returns the peak memory of a running process in MiB, or with VmRSS its present memory."""
    status = Path(f"/proc/{process_id}/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) / 1024


def parse(
    parser: argparse.ArgumentParser, parts: Mapping[str, Callable[..., None]]
) -> argparse.Namespace:
    """Returns the options; in a process that was started for a part, runs that part and exits."""
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        name, *words = options.part
        parts[name](*words)
        sys.exit()
    return options

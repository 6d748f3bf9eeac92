"""What this machine can train with, how fast, and what is in the way."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path

import psutil
import tensorflow as tf

from camformer_tf import errors, rundir
from camformer_tf.training import strategy

_ORIGINAL = 3 * 2.455  # GFLOP that a training step of the recipe `original` takes a sequence
_SIDE = {"GPU": 8192, "CPU": 2048}  # of the square matrices that are multiplied
_SECONDS = 1.0  # how long they are, for each kind of number
_DRIVER = Path("/proc/driver/nvidia/version")


@dataclasses.dataclass(frozen=True)
class Findings:
    """What there is, line by line as (what, how it is), and what to do about it."""

    facts: list[tuple[str, str]]
    advice: list[str]

    def summary(self) -> str:
        """Returns the findings for a person."""
        width = max(len(name) for name, _ in self.facts)
        lines = [f"{name:<{width}}  {text}" for name, text in self.facts]
        advice = self.advice or ["Nothing is in the way."]
        return "\n".join([*lines, "", *advice])


def examine() -> Findings:
    """Returns what this machine can train with; takes a few seconds of multiplying matrices."""
    facts = [(name, version) for name, version in rundir.library_versions().items()]
    memory = psutil.virtual_memory()
    facts += [
        ("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        ("cores", f"{os.cpu_count()}"),
        ("memory", f"{memory.total / 2**30:.0f} GiB, {memory.available / 2**30:.0f} GiB free"),
    ]
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        details = tf.config.experimental.get_device_details(gpu)
        number = ".".join(map(str, details.get("compute_capability", ("?",))))
        name = details.get("device_name", "a GPU without a name")
        facts.append((gpu.name.rpartition(":")[0][-3:] + gpu.name[-2:], f"{name}, {number}"))
    advice = _environment()
    if not gpus:
        seen, told = unusable_gpu()
        facts.append(("GPU", seen))
        advice += told
    try:
        devices = strategy.make("auto")
        facts.append(("precision", f"{devices.precision}: {devices.reason}"))
    except errors.UserError as error:
        advice.append(str(error))
    kind = "GPU" if gpus else "CPU"
    for number in ("float32", "bfloat16", *(("float16",) if gpus else ())):
        peak = multiplication_rate(number, f"{kind}:0", _SIDE[kind])
        most = f"at most {peak / _ORIGINAL:,.0f} sequences/s of the recipe original"
        facts.append((f"{number} on {kind}:0", f"{peak:,.0f} GFLOP/s; {most}"))
    return Findings(facts, advice)


def multiplication_rate(kind: str, device: str, side: int, seconds: float = _SECONDS) -> float:
    """Returns the GFLOP/s at which matrices of that side are multiplied, 2 side^3 each time."""
    with tf.device(device):
        matrix = tf.cast(tf.random.stateless_uniform((side, side), (1, 2)), kind)
        multiply = tf.function(lambda a: tf.reduce_sum(tf.matmul(a, a)))
        float(multiply(matrix))  # the trace
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            float(multiply(matrix))
            done += 1
        return done * 2 * side**3 / (time.perf_counter() - start) / 1e9


def unusable_gpu(driver: Path = _DRIVER) -> tuple[str, list[str]]:
    """Returns, where TensorFlow sees no GPU, whether one is there, and what to do to use it."""
    found = _nvidia_smi()
    if not found and not driver.is_file():
        return "none", []
    seen = found or driver.read_text().splitlines()[0]
    if not tf.test.is_built_with_cuda():
        return f"there ({seen}), but this TensorFlow is built without CUDA", [
            'Install the build for GPUs: pip install "tensorflow[and-cuda]".'
        ]
    info = tf.sysconfig.get_build_info()
    wanted = {
        "libcudart.so." + str(info.get("cuda_version", "12")).split(".")[0]: "the CUDA runtime",
        "libcudnn.so." + str(info.get("cudnn_version", "9")).split(".")[0]: "cuDNN",
        "libcuda.so.1": "the driver's library",
    }
    missing = [f"{name} ({what})" for name, what in wanted.items() if not _loads(name)]
    if missing:
        return f"there ({seen}), but TensorFlow cannot load {', '.join(missing)}", [
            'Install the libraries beside TensorFlow: pip install "tensorflow[and-cuda]"; the '
            "driver's comes with the driver, and with --gpus all into a container."
        ]
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None:
        return f"there ({seen}), but CUDA_VISIBLE_DEVICES is {hidden!r}", [
            "Unset CUDA_VISIBLE_DEVICES, or name the GPU in it."
        ]
    return f"there ({seen}), but TensorFlow does not see it", [
        "See what TensorFlow says: TF_CPP_MIN_LOG_LEVEL=0 python -c "
        "'import tensorflow as tf; tf.config.list_physical_devices(\"GPU\")'."
    ]


def _nvidia_smi() -> str:
    """Returns name and driver of the first GPU, as the driver's own tool tells them."""
    tool = shutil.which("nvidia-smi")
    if not tool:
        return ""
    query = ["--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run([tool, *query], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip().split("\n")[0] if done.returncode == 0 else ""


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _environment() -> list[str]:
    """Returns what to do about variables that change how TensorFlow works."""
    advice = []
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0":
        advice.append("TF_ENABLE_ONEDNN_OPTS=0 makes training on a CPU slow: unset it.")
    if "TF_CONFIG" in os.environ:
        advice.append("TF_CONFIG is set, for --strategy multiworker: unset it to train alone.")
    return advice

"""What this machine can train with, how fast, and what prevents better."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import platform
import shutil
import subprocess
from pathlib import Path

import psutil
import tensorflow as tf

from camformer_tf import errors, rundir, speed
from camformer_tf.training import strategies

_ORIGINAL = 3 * 2.455  # GFLOP a sequence of a training step of the recipe `original`
_SECONDS = 1.0  # for which matrices of one dtype are multiplied
_DRIVER = Path("/proc/driver/nvidia/version")


@dataclasses.dataclass(frozen=True, repr=False)
class Diagnosis:
    """What this machine has, and what to do about it.

    Attributes:
        facts: name → value, such as "memory" → "16 GiB, 9 GiB free".
        gflops: device and dtype, such as "float32 on CPU:0" → measured GFLOP/s.
        advice: what would make training faster or possible, a sentence or two each.
    """

    facts: dict[str, str]
    gflops: dict[str, float]
    advice: list[str]

    def summary(self) -> str:
        """Returns the diagnosis for a person."""
        rates = {
            name: f"{rate:,.0f} GFLOP/s; at most {rate / _ORIGINAL:,.0f} sequences/s of the recipe "
            "original"
            for name, rate in self.gflops.items()
        }
        lines = self.facts | rates
        width = max(map(len, lines))
        advice = self.advice or ["No problems found."]
        return "\n".join([*(f"{name:<{width}}  {lines[name]}" for name in lines), "", *advice])

    def __repr__(self) -> str:
        return "Diagnosis\n" + "\n".join(f"  {line}" for line in self.summary().splitlines())


def doctor() -> Diagnosis:
    """Returns what this machine can train with, measured by a few seconds of multiplying matrices.

    The measured rates are of whole devices; other work on the machine lowers them.
    """
    facts = rundir.library_versions()
    memory = psutil.virtual_memory()
    facts |= {
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "cores": f"{os.cpu_count()}",
        "memory": f"{memory.total / 2**30:.0f} GiB, {memory.available / 2**30:.0f} GiB free",
    }
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        details = tf.config.experimental.get_device_details(gpu)
        number = ".".join(map(str, details.get("compute_capability", ("?",))))
        name = details.get("device_name", "a GPU without a name")
        facts[gpu.name.rpartition(":")[0][-3:] + gpu.name[-2:]] = f"{name}, {number}"
    advice = _variable_advice()
    if not gpus:
        facts["GPU"], gpu_advice = unusable_gpu()
        advice += gpu_advice
    try:
        devices = strategies.make("auto")
        facts["precision"] = f"{devices.precision}: {devices.reason}"
    except errors.UserError as error:
        advice.append(str(error))
    return Diagnosis(facts, speed.rates(_SECONDS), advice)


def unusable_gpu(driver: Path = _DRIVER) -> tuple[str, list[str]]:
    """Returns, where TensorFlow sees no GPU, whether there is one, and how to make it usable."""
    name = _nvidia_smi()
    if not name and not driver.is_file():
        return "none", []
    name = name or driver.read_text().splitlines()[0]
    if not tf.test.is_built_with_cuda():
        return f"present ({name}), but this TensorFlow is built without CUDA", [
            'Install the build for GPUs: pip install "tensorflow[and-cuda]".'
        ]
    info = tf.sysconfig.get_build_info()
    libraries = {
        "libcudart.so." + str(info.get("cuda_version", "12")).split(".")[0]: "the CUDA runtime",
        "libcudnn.so." + str(info.get("cudnn_version", "9")).split(".")[0]: "cuDNN",
        "libcuda.so.1": "the driver's library",
    }
    missing = [f"{file} ({use})" for file, use in libraries.items() if not _can_load(file)]
    if missing:
        return f"present ({name}), but TensorFlow cannot load {', '.join(missing)}", [
            'Install the libraries for TensorFlow: pip install "tensorflow[and-cuda]"; the '
            "driver's library comes with the driver, and into a container with --gpus all."
        ]
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None:
        return f"present ({name}), but CUDA_VISIBLE_DEVICES is {hidden!r}", [
            "Unset CUDA_VISIBLE_DEVICES, or name the GPU in it."
        ]
    return f"present ({name}), but TensorFlow does not see it", [
        "Read TensorFlow's messages: TF_CPP_MIN_LOG_LEVEL=0 python -c "
        "'import tensorflow as tf; tf.config.list_physical_devices(\"GPU\")'."
    ]


def _nvidia_smi() -> str:
    """Returns name and driver of the first GPU, as the driver's own tool prints them."""
    tool = shutil.which("nvidia-smi")
    if not tool:
        return ""
    query = ["--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        process = subprocess.run([tool, *query], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return process.stdout.strip().split("\n")[0] if process.returncode == 0 else ""


def _can_load(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _variable_advice() -> list[str]:
    """Returns what to do about environment variables that change how TensorFlow works."""
    advice = []
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0":
        advice.append("TF_ENABLE_ONEDNN_OPTS=0 makes training on a CPU slow: unset it.")
    if "TF_CONFIG" in os.environ:
        advice.append("TF_CONFIG is set, for --strategy multiworker: unset it to train alone.")
    return advice

import subprocess
import sys

import pytest
import tensorflow as tf

from camformer_tf import errors
from camformer_tf.training import cluster, strategy


@pytest.fixture
def gpus(monkeypatch):
    """Makes TensorFlow see GPUs of the compute capabilities given."""

    def see(*capabilities):
        devices = [f"GPU {i}" for i in range(len(capabilities))]
        details = dict(zip(devices, capabilities, strict=True))
        monkeypatch.setattr(
            tf.config.experimental,
            "get_device_details",
            lambda gpu: {"compute_capability": details[gpu]},
        )
        return devices

    return see


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ([(9, 0)], "mixed_bfloat16"),
        ([(8, 0)], "mixed_bfloat16"),
        ([(7, 5)], "mixed_float16"),
        ([(8, 0), (7, 0)], "mixed_float16"),
        ([(6, 1)], "float32"),
    ],
)
def test_on_gpus_the_weakest_decides_on_the_precision(gpus, capabilities, expected):
    policy, reason = strategy._precision("auto", gpus(*capabilities))
    assert policy == expected
    assert ".".join(map(str, min(capabilities))) in reason


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx2 avx512_bf16", ("mixed_bfloat16", "the CPU has AVX512-BF16")),
        ("fpu amx_bf16 avx512_bf16", ("mixed_bfloat16", "the CPU has AMX")),
        ("fpu avx2", ("float32", "the CPU does not compute in bfloat16")),
    ],
)
def test_on_a_cpu_its_flags_decide_on_the_precision(tmp_path, monkeypatch, flags, expected):
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor\t: 0\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: {flags}\n")
    found = strategy.cpu_flags(info)
    assert found == set(flags.split())
    monkeypatch.setattr(strategy, "cpu_flags", lambda: found)
    assert strategy._precision("auto", []) == expected


def test_without_cpuinfo_the_precision_is_float32(tmp_path):
    assert strategy.cpu_flags(tmp_path / "absent") == set()


def test_a_precision_that_was_asked_for_is_taken(gpus):
    assert strategy._precision("float32", gpus((9, 0))) == ("float32", "as asked")


def test_a_gpu_that_is_required_and_not_there_is_told():
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU")
    with pytest.raises(errors.UserError, match="sees no GPU here. `camformer-tf doctor`"):
        strategy.make("one", require_gpu=True)


def test_the_banner_says_devices_precision_and_why():
    devices = strategy.Devices(("CPU:0",), "one", None, "float32", "as asked")
    assert devices.banner() == "training on CPU:0, strategy one, float32: as asked"
    worker = strategy.Devices(("GPU:0",), "multiworker", None, "float32", "as asked", 1, 4)
    assert "GPU:0 (worker 1 of 4), strategy multiworker" in worker.banner()
    assert not worker.chief


def test_on_gpus_calls_make_several_steps_and_a_single_one_is_compiled(monkeypatch, gpus):
    there = gpus((9, 0), (9, 0))
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: there)
    alone = strategy.make("one")
    assert (alone.steps_per_call, alone.xla) == (50, True)
    assert "compiled by XLA" in alone.banner()
    assert not strategy.make("one", xla="off").xla
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda names: names)
    both = strategy.make("auto")
    assert (both.strategy, both.steps_per_call, both.xla) == (["GPU:0", "GPU:1"], 50, False)
    with pytest.raises(errors.UserError, match="--xla on: a step of several devices"):
        strategy.make("auto", xla="on")


def test_on_a_cpu_a_call_makes_one_step_and_xla_is_for_who_asks():
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU")
    made = strategy.make("one", precision="float32")
    assert (made.steps_per_call, made.xla) == (1, False)
    assert strategy.make("one", precision="float32", xla="on").xla


@pytest.mark.parametrize(("on_gpus", "expected"), [(True, "NCCL"), (False, "RING")])
def test_gpus_of_several_hosts_speak_by_nccl(monkeypatch, on_gpus, expected):
    made = []
    monkeypatch.setattr(cluster, "meet", lambda *arguments: None)
    monkeypatch.setattr(
        tf.distribute,
        "MultiWorkerMirroredStrategy",
        lambda communication_options: made.append(communication_options),
    )
    config = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    cluster.strategy(config, 60, on_gpus=on_gpus)
    (options,) = made
    assert options.implementation.value == expected


PROGRAM = """
import tensorflow as tf
from camformer_tf.training import cluster, strategy

made = strategy.make("one", precision="mixed_bfloat16")
print(tf.config.threading.get_inter_op_parallelism_threads())
"""


@pytest.mark.parametrize(("precision", "threads"), [("mixed_bfloat16", "1"), ("float32", "0")])
def test_in_16_bits_on_a_cpu_operations_run_one_at_a_time(precision, threads):
    program = PROGRAM.replace("mixed_bfloat16", precision)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split() == [threads]

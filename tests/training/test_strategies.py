import pytest
import tensorflow as tf
from support import programs

from camformer_tf import errors
from camformer_tf.training import strategies


@pytest.fixture
def gpus(monkeypatch):
    """Returns a function that makes TensorFlow see GPUs of some compute capabilities."""

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
    policy, reason = strategies._precision("auto", gpus(*capabilities))
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
    cpu_flags = strategies.cpu_flags(info)
    assert cpu_flags == set(flags.split())
    monkeypatch.setattr(strategies, "cpu_flags", lambda: cpu_flags)
    assert strategies._precision("auto", []) == expected


def test_without_cpuinfo_the_precision_is_float32(tmp_path):
    assert strategies.cpu_flags(tmp_path / "absent") == set()


def test_a_requested_precision_is_used(gpus):
    assert strategies._precision("float32", gpus((9, 0))) == ("float32", "as requested")


def test_a_required_gpu_that_is_missing_is_reported():
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU")
    with pytest.raises(errors.UserError, match="sees no GPU here. `camformer-tf doctor`"):
        strategies.make("one", require_gpu=True)


def test_the_banner_says_devices_precision_and_why():
    devices = strategies.Devices(("CPU:0",), "one", None, "float32", "as requested")
    assert devices.banner() == "training on CPU:0, strategy one, float32: as requested"
    worker = strategies.Devices(("GPU:0",), "multiworker", None, "float32", "as requested", 1, 4)
    assert "GPU:0 (worker 1 of 4), strategy multiworker" in worker.banner()
    assert not worker.chief


def test_on_gpus_calls_make_several_steps_and_a_single_one_is_compiled(monkeypatch, gpus):
    devices = gpus((9, 0), (9, 0))
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: devices)
    single = strategies.make("one")
    assert (single.steps_per_call, single.xla) == (50, True)
    assert "compiled by XLA" in single.banner()
    assert not strategies.make("one", xla="off").xla
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda names: names)
    double = strategies.make("auto")
    assert (double.strategy, double.steps_per_call, double.xla) == (["GPU:0", "GPU:1"], 50, False)
    with pytest.raises(errors.UserError, match="--xla on: XLA compiles the step of a single"):
        strategies.make("auto", xla="on")


def test_on_a_cpu_a_call_makes_one_step_and_xla_is_used_on_request():
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU")
    devices = strategies.make("one", precision="float32")
    assert (devices.steps_per_call, devices.xla) == (1, False)
    assert strategies.make("one", precision="float32", xla="on").xla


@pytest.mark.parametrize(("precision", "threads"), [("mixed_bfloat16", "1"), ("float32", "0")])
def test_in_16_bits_on_a_cpu_one_operation_runs_at_once(precision, threads):
    assert programs.run("inter_op_threads", precision).split() == [threads]


def test_more_than_one_device_with_the_strategy_one_is_refused():
    with pytest.raises(errors.UserError, match="--devices 2 with --strategy one"):
        strategies.make("one", 2)


def test_the_cpu_is_not_split_after_tensorflow_has_started():
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU")
    tf.constant(1)
    with pytest.raises(errors.UserError, match="after TensorFlow has started.*Restart Python"):
        strategies.make("auto", 2)

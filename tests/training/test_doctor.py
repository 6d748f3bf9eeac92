import numpy as np
import pytest
import tensorflow as tf

from camformer_tf.training import doctor


def test_the_findings_name_versions_devices_precision_and_peak(monkeypatch):
    monkeypatch.setattr(doctor, "_SIDE", {"CPU": 64, "GPU": 64})
    monkeypatch.setattr(doctor, "_SECONDS", 0.01)
    summary = doctor.examine().summary()
    for word in ("camformer_tf", "tensorflow", "memory", "precision", "float32 on", "GFLOP/s"):
        assert word in summary


def test_the_rate_is_two_operations_for_each_product(monkeypatch):
    times = iter(np.arange(100.0))  # a second passes with each look at the clock
    monkeypatch.setattr(doctor.time, "perf_counter", lambda: next(times))
    # start 0; looks at 1, 2 (two multiplications), at 3 it ends, and at 4 the time is taken
    rate = doctor.multiplication_rate("float32", "CPU:0", 100, seconds=2.5)
    assert rate == pytest.approx(2 * 2 * 100**3 / 4 / 1e9)


@pytest.fixture
def driver(tmp_path, monkeypatch):
    path = tmp_path / "version"
    path.write_text("NVRM version: NVIDIA UNIX 550.54\nGCC version: 12\n")
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return path


def test_no_driver_is_no_gpu(driver, tmp_path):
    assert doctor.unusable_gpu(tmp_path / "absent") == ("none", [])


@pytest.mark.parametrize(
    ("built", "libraries", "variable", "seen", "advice"),
    [
        (False, True, None, "built without CUDA", "tensorflow[and-cuda]"),
        (True, False, None, "cannot load libcudart.so", "tensorflow[and-cuda]"),
        (True, True, "", "CUDA_VISIBLE_DEVICES is ''", "Unset CUDA_VISIBLE_DEVICES"),
        (True, True, None, "TensorFlow does not see it", "TF_CPP_MIN_LOG_LEVEL=0"),
    ],
)
def test_a_gpu_that_tensorflow_cannot_use_is_told_with_the_reason(
    driver, monkeypatch, built, libraries, variable, seen, advice
):
    monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: built)
    monkeypatch.setattr(doctor, "_loads", lambda name: libraries)
    if variable is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    said, told = doctor.unusable_gpu(driver)
    assert "NVIDIA UNIX 550.54" in said and seen in said
    assert advice in told[0]


def test_variables_that_slow_or_change_training_are_told(monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setenv("TF_CONFIG", "{}")
    said = "\n".join(doctor._environment())
    assert "TF_ENABLE_ONEDNN_OPTS=0" in said and "TF_CONFIG is set" in said

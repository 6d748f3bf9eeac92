import json

import pytest
import tensorflow as tf
from click import testing

from camformer_tf import cli, speed
from camformer_tf.training import doctor


@pytest.fixture
def small_matrices(monkeypatch):
    monkeypatch.setattr(speed, "SIDES", {"CPU": 64, "GPU": 64})
    monkeypatch.setattr(doctor, "_SECONDS", 0.01)


def test_the_diagnosis_names_versions_devices_precision_and_rates(small_matrices):
    diagnosis = doctor.doctor()
    assert {"camformer_tf", "tensorflow", "memory", "precision"} <= diagnosis.facts.keys()
    assert all(rate > 0 for rate in diagnosis.gflops.values())
    for word in ("camformer_tf", "memory", "precision", "float32 on", "GFLOP/s"):
        assert word in diagnosis.summary() and word in repr(diagnosis)


def test_the_command_prints_the_diagnosis_as_json(small_matrices):
    result = testing.CliRunner().invoke(cli.main, ["doctor", "--json"])
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert set(values) == {"facts", "gflops", "advice"}
    assert values["facts"]["keras"] and "float32 on" in " ".join(values["gflops"])


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
    ("has_cuda", "libraries", "variable", "state", "advice"),
    [
        (False, True, None, "built without CUDA", "tensorflow[and-cuda]"),
        (True, False, None, "cannot load libcudart.so", "tensorflow[and-cuda]"),
        (True, True, "", "CUDA_VISIBLE_DEVICES is ''", "Unset CUDA_VISIBLE_DEVICES"),
        (True, True, None, "TensorFlow does not see it", "TF_CPP_MIN_LOG_LEVEL=0"),
    ],
)
def test_a_gpu_that_tensorflow_cannot_use_is_reported_with_the_reason(
    driver, monkeypatch, has_cuda, libraries, variable, state, advice
):
    monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: has_cuda)
    monkeypatch.setattr(doctor, "_can_load", lambda name: libraries)
    if variable is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    fact, sentences = doctor.unusable_gpu(driver)
    assert "NVIDIA UNIX 550.54" in fact and state in fact
    assert advice in sentences[0]


def test_variables_that_slow_or_change_training_are_reported(monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setenv("TF_CONFIG", "{}")
    advice = "\n".join(doctor._variable_advice())
    assert "TF_ENABLE_ONEDNN_OPTS=0" in advice and "TF_CONFIG is set" in advice

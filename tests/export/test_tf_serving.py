"""The launcher of TensorFlow Serving: its command line and configuration, without a container."""

import os
import subprocess
from pathlib import Path

import pytest
from google.protobuf import text_format

ROOT = Path(__file__).parents[2]
LAUNCHER, CONFIGURATION = ROOT / "bin" / "serve-tf-serving.sh", ROOT / "bin" / "tf-serving"


@pytest.fixture
def docker(tmp_path) -> dict[str, str]:
    """An environment whose docker prints its arguments, one to a line."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    return os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"}


def run(environment: dict[str, str], *words: object) -> subprocess.CompletedProcess:
    command = ["bash", LAUNCHER, *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_the_export_and_the_configuration_are_mounted_and_ports_are_local(tmp_path, docker):
    (tmp_path / "my exports" / "3").mkdir(parents=True)
    (tmp_path / "my exports" / "3" / "saved_model.pb").touch()
    process = run(docker | {"REST_PORT": "9001"}, tmp_path / "my exports", "--tensorflow_intra=2")
    assert process.returncode == 0, process.stderr
    words = process.stdout.splitlines()
    assert f"{tmp_path}/my exports:/models/camformer:ro" in words
    assert {"127.0.0.1:9001:8501", "127.0.0.1:8500:8500"} <= set(words)
    assert words[-1] == "--tensorflow_intra=2" and "tensorflow/serving" in words
    for word in words:
        if "=/config/" in word:
            assert (CONFIGURATION / word.partition("/config/")[2]).is_file()


def test_a_folder_without_an_export_is_refused(tmp_path, docker):
    process = run(docker, tmp_path)
    assert process.returncode == 1 and "there is no version in it" in process.stderr


def test_the_configuration_is_what_the_server_reads():
    model_server_config_pb2 = pytest.importorskip(
        "tensorflow_serving.config.model_server_config_pb2"
    )
    text = (CONFIGURATION / "models.config").read_text()
    read = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (model,) = read.model_config_list.config
    assert (model.name, model.base_path) == ("camformer", "/models/camformer")

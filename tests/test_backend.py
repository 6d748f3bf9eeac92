import os
import subprocess
import sys

import pytest

from camformer_tf import backend

SENTENCE = (
    "the Keras backend is 'jax'. camformer_tf needs TensorFlow: unset KERAS_BACKEND, or set it to "
    'tensorflow, before Python starts (and "backend" in ~/.keras/keras.json).'
)


def run(*arguments: str, **variables: str | None) -> subprocess.CompletedProcess:
    """Runs Python with some environment variables changed, or removed (None)."""
    environment = {k: v for k, v in {**os.environ, **variables}.items() if v is not None}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=120
    )


def test_the_import_of_the_package_changes_no_environment_variable():
    program = (
        "import os; before = dict(os.environ); import sys, camformer_tf, camformer_tf.cli\n"
        "assert dict(os.environ) == before and not {'keras', 'tensorflow'} & set(sys.modules)\n"
    )
    result = run("-c", program, KERAS_BACKEND="jax")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("module", ["model.rescnn", "training.fit", "tuning.tune", "export.export"])
def test_another_backend_is_refused_when_a_network_is_needed(module):
    program = (
        "from camformer_tf import errors\n"
        f"try: import camformer_tf.{module}\n"
        "except errors.UserError as error: print(error)\n"
    )
    result = run("-c", program, KERAS_BACKEND="jax")
    assert (result.stdout, result.returncode) == (SENTENCE + "\n", 0), result.stderr


@pytest.mark.parametrize("level", [None, "3"])  # of TensorFlow's log, which `cli.group` reads
def test_a_command_refuses_another_backend_in_one_sentence(tmp_path, level):
    (tmp_path / "in.txt").write_text("ACGT\n")
    arguments = ["predict", str(tmp_path), str(tmp_path / "in.txt"), str(tmp_path / "out.tsv")]
    variables = {"KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": level}
    result = run("-m", "camformer_tf", *arguments, **variables)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"Error: {SENTENCE}\n" and not (tmp_path / "out.tsv").exists()


def test_a_backend_in_the_configuration_of_keras_is_refused_too(tmp_path):
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    program = (
        "from camformer_tf import backend, errors\n"
        "try: backend.require_tensorflow()\n"
        "except errors.UserError as error: print(error)\n"
    )
    result = run("-c", program, KERAS_BACKEND=None, KERAS_HOME=str(tmp_path))
    assert result.stdout.endswith(SENTENCE.split(". ")[1] + "\n"), result.stderr


def test_tensorflow_is_accepted(monkeypatch):
    for name in ("tensorflow", None):
        if name is None:
            monkeypatch.delenv("KERAS_BACKEND", raising=False)
        else:
            monkeypatch.setenv("KERAS_BACKEND", name)
        backend.require_tensorflow()

"""The public names of the package: lazy, typed, and the same everywhere."""

import ast
import subprocess
import sys
import types
from pathlib import Path

import pytest

import camformer_tf

PACKAGE = Path(camformer_tf.__file__).parent
STUB = PACKAGE / "__init__.pyi"


def run_python(program: str) -> str:
    """Runs a program in a process of its own, and returns its standard output."""
    command = [sys.executable, "-c", program]
    process = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_the_public_names_are_sorted():
    assert camformer_tf.__all__ == sorted(set(camformer_tf.__all__))


@pytest.mark.parametrize("name", camformer_tf.__all__)
def test_a_public_name_is_a_function_or_a_class_of_that_name(name):
    public = getattr(camformer_tf, name)
    assert callable(public) and public.__name__ == name
    assert public.__doc__


def test_the_import_loads_neither_tensorflow_nor_numpy_and_changes_no_environment_variable():
    program = (
        "import os, sys; environment = dict(os.environ)\n"
        "import camformer_tf\n"
        "assert dict(os.environ) == environment\n"
        "print({'tensorflow', 'keras', 'numpy', 'pandas', 'scipy', 'click'} & set(sys.modules))"
    )
    assert run_python(program) == "set()\n"


def test_a_star_import_binds_the_public_names():
    program = "from camformer_tf import *; import camformer_tf; print(set(camformer_tf.__all__) - set(dir()))"  # noqa: E501
    assert run_python(program) == "set()\n"


@pytest.mark.parametrize(
    ("name", "module"),
    [("export", "camformer_tf.export.export"), ("batches", "camformer_tf.batches.dataset")],
)
def test_a_function_keeps_its_name_when_the_room_of_that_name_is_imported(name, module):
    room, _, stem = module.rpartition(".")
    program = (
        f"import {module}; import camformer_tf as cf; from {room} import {stem} as inner\n"
        f"print(type(cf.{name}).__name__, type(inner).__name__)"
    )
    assert run_python(program) == "function module\n"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'camformer_tf' has no attribute 'fits'"):
        camformer_tf.fits  # noqa: B018


def test_dir_lists_the_public_names():
    assert set(camformer_tf.__all__) <= set(dir(camformer_tf))


def test_the_stub_imports_the_public_names_from_their_modules():
    nodes = [node for node in ast.parse(STUB.read_text()).body if isinstance(node, ast.ImportFrom)]
    modules = {alias.name: node.module for node in nodes for alias in node.names}
    assert all(alias.asname == alias.name for node in nodes for alias in node.names)
    assert modules == {
        name: f"camformer_tf.{module}" for name, module in camformer_tf._PLACES.items()
    }


def test_a_public_name_is_resolved_once():
    assert camformer_tf.UserError
    assert vars(camformer_tf)["UserError"] is camformer_tf.UserError
    assert not isinstance(camformer_tf.export, types.ModuleType)


@pytest.mark.slow
def test_a_type_checker_finds_the_types_of_the_public_names(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import camformer_tf as cf\n"
        'model = cf.load("runs/mini")\n'
        "reveal_type(model)\n"
        'reveal_type(cf.fit("mini", "records", "runs/mini"))\n'
        'cf.fit("mini", "records", "runs/mini", epoch=20)\n'
    )
    command = [sys.executable, "-m", "mypy", "--config-file=", str(program)]
    process = subprocess.run(
        command, capture_output=True, text=True, timeout=240, cwd=PACKAGE.parent
    )
    assert 'Revealed type is "camformer_tf.model.inference.Model"' in process.stdout
    assert 'Revealed type is "camformer_tf.rundir.Run' in process.stdout
    assert 'Unexpected keyword argument "epoch"' in process.stdout

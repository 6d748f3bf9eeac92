"""After `import camformer_tf`, plain Keras reads the .keras files of this package."""

import importlib.machinery
import subprocess
import sys
import types
from pathlib import Path

import pytest

from camformer_tf import recipe, registration
from camformer_tf.model import keras_file, rescnn

PROGRAM = Path(__file__).parent / "support" / "programs" / "load_keras_file.py"


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    settings = recipe.load("smoke", ["tricks.flanks.cut_left=3"])
    path = tmp_path_factory.mktemp("network") / "m.keras"
    keras_file.save(rescnn.from_recipe(settings), path, settings)
    return path


@pytest.mark.parametrize("modules", [["camformer_tf"], ["tensorflow", "keras", "camformer_tf"]])
def test_load_model_needs_only_the_import_of_the_package_in_any_order(path, modules):
    process = subprocess.run(
        [sys.executable, PROGRAM, path, *modules], capture_output=True, text=True, timeout=300
    )
    assert process.stdout.strip() == "rescnn", process.stderr


def test_nothing_is_imported_until_keras_is(monkeypatch):
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setattr(sys, "meta_path", [])
    registration.install()
    (finder,) = sys.meta_path
    assert "keras" not in sys.modules
    assert finder.find_spec("numpy", None) is None
    assert finder.find_spec("keras", None) is None  # which no other finder has


def test_the_finder_leaves_after_the_import_and_another_backend_registers_nothing(monkeypatch):
    class Finder:
        def find_spec(self, name, path, target=None):
            return importlib.machinery.ModuleSpec(name, Loader())

    class Loader:
        def create_module(self, spec):
            return None

        def exec_module(self, module):
            module.config = types.SimpleNamespace(backend=lambda: "jax")

    monkeypatch.setattr(registration, "_MODULES", ["a module that is not there"])
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setattr(sys, "meta_path", [Finder()])
    registration.install()
    spec = sys.meta_path[0].find_spec("keras", None)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.config.backend() == "jax" and len(sys.meta_path) == 1
    assert isinstance(module.__loader__, Loader)

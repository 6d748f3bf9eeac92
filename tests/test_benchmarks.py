"""The benchmarks use names that the package has; what they measure is not tested."""

import ast
import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
FILES = sorted(FOLDER.glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_name_of_the_package_that_a_benchmark_uses_exists(path):
    nodes = list(ast.walk(ast.parse(path.read_text())))
    modules = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module.startswith("camformer_tf")
        for alias in node.names
    }
    for node in nodes:
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") in modules:
            module = importlib.import_module(modules[node.value.id])
            assert hasattr(module, node.attr), f"{path.name}:{node.lineno}: {node.attr}"


def test_the_readme_lists_every_benchmark():
    text = (FOLDER / "README.md").read_text()
    assert not [path.name for path in FILES if f"`{path.name}`" not in text]

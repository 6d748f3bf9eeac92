"""README and docs agree with the code: commands parse, links lead to files, tables are complete."""

import ast
import inspect
import os
import re
import shlex
from pathlib import Path

import pytest

import camformer_tf
from camformer_tf import cli, recipe

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *(ROOT / folder / "README.md" for folder in ("benchmarks", "tfrecords")),
    *sorted((ROOT / "docs").glob("*.md")),
]


def commands(page: Path, language: str = "bash") -> list[str]:
    blocks = re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines = [line.strip() for line in lines if line.strip()]
    return [line.replace("$seed", "42").replace("$recipe", "mini") for line in lines]


def table(page: Path, heading: str) -> list[list[str]]:
    section = page.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [row.strip("|").split("|") for row in section.splitlines() if row.startswith("| `")]
    return [[cell.strip().strip("`") for cell in row] for row in rows]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_parses(page):
    for line in commands(page):
        words = shlex.split(line.partition(" | ")[0], comments=True)
        if words[0] == "camformer-tf":
            command = cli.main.commands[words[1]]
            command.make_context(words[1], words[2:])  # parses, and refuses unknown options
        elif scripts := [word for word in words if word.startswith("bin/")]:
            assert os.access(ROOT / scripts[0], os.X_OK)
        else:
            shell = {"source", "mkdir", "export", "for", "done"}
            assert words[0] in shell | {
                *("curl", "docker", "pip", "pre-commit", "python", "srun", "tensorboard")
            }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_to_a_file(page):
    for target in re.findall(r"\]\((?!https://)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_table_of_commands_is_complete():
    rows = table(ROOT / "README.md", "Commands")
    assert [row[0] for row in rows] == [f"camformer-tf {name}" for name in cli.main.commands]


def test_the_table_of_recipes_is_complete_with_the_right_sizes():
    from camformer_tf.data import sequence
    from camformer_tf.model import rescnn

    rows = {row[0]: row[1] for row in table(ROOT / "README.md", "Recipes")}
    assert set(rows) == set(recipe.shipped_files())
    for name, parameters in rows.items():
        settings = recipe.load(name)
        channels = sequence.channels(settings.data.encoding)
        model = rescnn.build(settings.model, channels=channels)
        assert parameters == f"{rescnn.count_trainable(model):,}"


def test_the_reference_pages_list_the_public_names():
    text = (ROOT / "docs" / "reference.md").read_text()
    names = re.findall(r"(?m)^::: camformer_tf\.([\w.]+)$", text)
    places = camformer_tf._PLACES.items()
    assert sorted(names) == sorted(f"{module}.{name}" for name, module in places)


def test_every_recipe_has_a_header_with_command_expectation_cost_and_source():
    for name, path in recipe.shipped_files().items():
        text = path.read_text()
        for word in ("# Run:", "# Expect:", "# Cost:", "# Source:"):
            assert word in text, f"{name} lacks {word}"
        assert f"camformer-tf fit {name} " in text


def test_python_in_the_docs_compiles_and_calls_functions_that_exist():
    import importlib

    for page in PAGES:
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
            compile(block, str(page), "exec")
            for room, names in re.findall(r"from (camformer_tf[\w.]*) import ([\w, ]+)", block):
                for item in names.split(", "):
                    module_name, _, alias = item.partition(" as ")
                    name = alias or module_name
                    module = importlib.import_module(f"{room}.{module_name}")
                    for function in re.findall(rf"(?<![\w.]){name}\.(\w+)\(", block):
                        assert hasattr(module, function), f"{page.name}: {name}.{function}"


def test_python_in_the_docs_calls_public_functions_with_options_that_they_have():
    for page in PAGES:
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
            for call in (node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)):
                name = ast.unparse(call.func)
                if name.startswith("cf.") and name.count(".") == 1:
                    function = getattr(camformer_tf, name.removeprefix("cf."))
                    options = {keyword.arg for keyword in call.keywords}
                    unknown = options - set(inspect.signature(function).parameters)
                    assert not unknown, f"{page.name}: {name}: {unknown}"


def test_shell_scripts_are_short_and_strict():
    for path in (ROOT / "bin").glob("*.sh"):
        text = path.read_text()
        assert os.access(path, os.X_OK) and "set -euo pipefail" in text
        assert len(text.splitlines()) <= 45, path

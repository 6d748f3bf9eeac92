"""Prints measures of the source code itself: names, imports, types, help, tests, comments, sizes.

    python benchmarks/house.py

It measures the working tree with the functions of the tests. A measure with a target prints it.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize

import click
import harness

sys.path.insert(0, str(harness.ROOT / "tests"))
import test_imports
import test_layout
import test_names

from camformer_tf import cli

PACKAGE = sorted((harness.ROOT / "camformer_tf").rglob("*.py"))


def refused_bindings() -> int:
    """Returns how many bindings of the package, tests and benchmarks have a refused name."""
    trees = (ast.parse(path.read_text()) for path in test_names.FILES)
    names = (name for tree in trees for name, _ in test_names.bindings(tree))
    return sum(test_names.is_refused(name) for name in names)


def mypy_errors() -> int:
    """Returns the number of errors of mypy."""
    command = [sys.executable, "-m", "mypy"]
    process = subprocess.run(command, cwd=harness.ROOT, capture_output=True, text=True)
    match = re.search(r"Found (\d+) error", process.stdout)
    return int(match[1]) if match else 0


def options_without_help() -> int:
    commands = cli.main.commands.values()
    parameters = [parameter for command in commands for parameter in command.params]
    options = [parameter for parameter in parameters if isinstance(parameter, click.Option)]
    return sum(not option.help for option in options)


def commands_without_example() -> int:
    return sum(not getattr(command, "example", "") for command in cli.main.commands.values())


def comments_per_100_lines() -> float:
    comments = lines = 0
    for path in PACKAGE:
        text = path.read_text()
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        comments += sum(token.type == tokenize.COMMENT for token in tokens)
        lines += len(text.splitlines())
    return 100 * comments / lines


def longest_file() -> str:
    sizes = {path: len(path.read_text().splitlines()) for path in PACKAGE}
    path = max(sizes, key=sizes.get)
    return f"{sizes[path]} lines, {path.relative_to(harness.ROOT)}"


def functions() -> dict[str, int]:
    """Returns the lines of every function of the package."""
    return {
        f"{path.relative_to(harness.ROOT)}:{node.lineno} {node.name}": node.end_lineno
        - node.lineno
        + 1
        for path in PACKAGE
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def longest_function() -> str:
    sizes = functions()
    name = max(sizes, key=sizes.get)
    return f"{sizes[name]} lines, {name}"


def long_functions() -> str:
    sizes = functions().values()
    return f"{100 * sum(size > 40 for size in sizes) / len(sizes):.1f} %"


MEASURES = {  # title → function, target
    "bindings with a refused name": (refused_bindings, 0),
    "import circles": (lambda: len(test_imports.circles()), 0),
    "errors of mypy": (mypy_errors, 0),
    "options without help": (options_without_help, 0),
    "commands without an example": (commands_without_example, 0),
    "modules without a test file": (lambda: len(test_layout.modules_without_test()), 0),
    "comments per 100 lines": (lambda: f"{comments_per_100_lines():.1f}", None),
    "longest file": (longest_file, None),
    "longest function": (longest_function, None),
    "functions of more than 40 lines": (long_functions, None),
}


def main() -> None:
    print("| measure | value | target |\n|---|---|---|")
    for title, (measure, target) in MEASURES.items():
        print(f"| {title} | {measure()} | {'' if target is None else target} |", flush=True)


if __name__ == "__main__":
    main()

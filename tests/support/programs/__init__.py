"""Programs that tests run in processes of their own: `run("name", arguments…)`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run(name: str, *arguments: object, timeout: float = 240) -> str:
    """Runs the program NAME.py of this folder, and returns what it printed."""
    process = subprocess.run(
        [sys.executable, str(Path(__file__).with_name(f"{name}.py")), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(),
    )
    assert process.returncode == 0, process.stderr[-2000:]
    return process.stdout


def environment() -> dict[str, str]:
    """Returns an environment in which a program finds the package and the tests' helpers."""
    tests = Path(__file__).parents[2]
    paths = [str(tests.parent), str(tests), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}

#!/usr/bin/env bash
# Installs the test extra into .venv and runs the tests in two processes: bin/test.sh [PYTEST OPTIONS]
# bin/test.sh -m "not slow and not distributed" takes the quick ones alone; -n 0 runs in one process.
set -euo pipefail
cd "$(dirname "$0")/.."
bin/install.sh test
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/codespell
exec .venv/bin/python -m pytest -n 2 --dist loadfile "$@"

#!/usr/bin/env bash
# Installs the test extra into .venv, checks style, types and spelling, and runs the tests in two
# processes: bin/test.sh [PYTEST OPTIONS]
# bin/test.sh -m "not slow and not distributed" runs only the quick tests; -n 0 uses one process;
# --cov measures coverage.
set -euo pipefail
cd "$(dirname "$0")/.."
bin/install.sh test
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/codespell
exec .venv/bin/python -m pytest -n 2 --dist loadfile "$@"

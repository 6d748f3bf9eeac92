#!/usr/bin/env bash
# Installs the package into the virtual environment .venv, made if it is not there:
# bin/install.sh [EXTRAS], such as bin/install.sh test
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -x .venv/bin/pip ] && ! python3 -m venv .venv; then
    echo "No virtual environment could be made. On Debian: apt-get install python3-venv" >&2
    exit 1
fi
.venv/bin/pip install --quiet --editable ".${1:+[$1]}"

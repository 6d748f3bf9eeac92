#!/usr/bin/env bash
# Installs the package into the virtual environment .venv, and creates it if it is missing:
# bin/install.sh [EXTRAS], such as bin/install.sh test,docs
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -x .venv/bin/pip ]; then
    if python3 -c "import ensurepip" 2>/dev/null; then
        python3 -m venv .venv
    else # Debian without python3-venv
        python3 -m venv --without-pip .venv
        python3 -m pip --quiet --python .venv/bin/python install pip
    fi
fi
.venv/bin/pip install --quiet --editable ".${1:+[$1]}"

#!/usr/bin/env bash
# Installs the docs extra into .venv and builds the documentation into site/: bin/docs.sh [OPTIONS]
# A broken link or an unknown name in a reference page fails. The options are those of mkdocs build.
set -euo pipefail
cd "$(dirname "$0")/.."
bin/install.sh docs
export NO_MKDOCS_2_WARNING=1 # news of mkdocs' makers
exec .venv/bin/mkdocs build --strict "$@"

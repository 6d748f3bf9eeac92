#!/usr/bin/env bash
# Runs a search in several processes of this machine:
# bin/tune-workers.sh WORKERS SEARCH_RECIPE RECORDS OUT_DIR [OPTIONS OF camformer-tf tune]
# The chief proposes and writes, and its log is shown here. Workers train, and log to
# OUT_DIR.worker-I.log. A worker that dies is restarted, at most ten times, and continues its trial.
# SIGTERM or Ctrl-C ends all processes; --resume continues the search.
set -euo pipefail
workers=${1:?"usage: bin/tune-workers.sh WORKERS SEARCH_RECIPE RECORDS OUT_DIR [OPTIONS]"}
out_dir=${4:?"usage: bin/tune-workers.sh WORKERS SEARCH_RECIPE RECORDS OUT_DIR [OPTIONS]"}
shift
here=$(cd "$(dirname "$0")/.." && pwd)
python=$([ -x "$here/.venv/bin/python" ] && echo "$here/.venv/bin/python" || echo python3)
export KERASTUNER_ORACLE_IP=127.0.0.1
KERASTUNER_ORACLE_PORT=$("$python" -c 'import socket
with socket.create_server(("127.0.0.1", 0)) as server: print(server.getsockname()[1])')
export KERASTUNER_ORACLE_PORT

work() { # trains until nothing is left
    local process=
    trap '[ -z "$process" ] || kill -TERM "$process" 2>/dev/null; wait || true; exit 143' TERM
    for ((try = 0; try <= 10; try++)); do
        KERASTUNER_TUNER_ID=worker-$1 "$python" -m camformer_tf.cli tune "${@:2}" \
            >>"$out_dir.worker-$1.log" 2>&1 &
        process=$!
        wait "$process" && return 0
    done
    echo "worker $1 died too often; see $out_dir.worker-$1.log" >&2
    return 1
}

KERASTUNER_TUNER_ID=chief "$python" -m camformer_tf.cli tune "$@" &
chief=$!
processes=()
for ((i = 0; i < workers; i++)); do
    work "$i" "$@" &
    processes+=($!)
done
trap 'kill -TERM "$chief" "${processes[@]}" 2>/dev/null || true' TERM INT
status=0
wait "$chief" || status=$?
kill -TERM "${processes[@]}" 2>/dev/null || true
wait || true
exit "$status"

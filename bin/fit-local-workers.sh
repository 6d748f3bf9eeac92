#!/usr/bin/env bash
# Trains with several processes on this machine, to test what a cluster does:
# bin/fit-local-workers.sh WORKERS RECIPE RECORDS RUN_DIR [OPTIONS OF camformer-tf fit]
# Worker 0 shows its progress here, the others write to RUN_DIR.worker-I.log. If one fails, all end;
# a signal to end stops all of them, and the run can be resumed (--resume).
set -euo pipefail
workers=${1:?"usage: bin/fit-local-workers.sh WORKERS RECIPE RECORDS RUN_DIR [OPTIONS]"}
run_dir=${4:?"usage: bin/fit-local-workers.sh WORKERS RECIPE RECORDS RUN_DIR [OPTIONS]"}
shift
here=$(cd "$(dirname "$0")/.." && pwd)
python=$([ -x "$here/.venv/bin/python" ] && echo "$here/.venv/bin/python" || echo python3)
addresses=$("$python" - "$workers" <<'END'
import json, socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(json.dumps([f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]))
END
)
processes=()
end() { kill -TERM "${processes[@]}" 2>/dev/null || true; }
trap end TERM INT
for ((i = workers - 1; i >= 0; i--)); do
    log=$([ "$i" = 0 ] && echo /dev/stdout || echo "$run_dir.worker-$i.log")
    TF_CONFIG="{\"cluster\": {\"worker\": $addresses}, \"task\": {\"type\": \"worker\", \"index\": $i}}" \
        "$python" -m camformer_tf.cli fit "$@" --strategy multiworker >"$log" 2>&1 &
    processes+=($!)
done
status=0
for _ in "${processes[@]}"; do
    wait -n || { code=$?; [ "$status" != 0 ] || status=$code; sleep 10 & wait $! || true; end; }
done
exit "$status"

#!/usr/bin/env bash
# Serves an export with TensorFlow Serving in a container:
# bin/serve-tf-serving.sh EXPORT_DIR [OPTIONS OF tensorflow_model_server]
# REST on port 8501 and gRPC on port 8500, for this machine only. The variables REST_PORT, GRPC_PORT,
# IMAGE and CONTAINER change ports, image and program. The configuration is in bin/tf-serving/. The
# server loads a newer version in EXPORT_DIR when it appears. SIGTERM or SIGINT stops the server.
set -euo pipefail
export_dir=$(cd "${1:?"usage: bin/serve-tf-serving.sh EXPORT_DIR [OPTIONS]"}" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
if ! ls -d "$export_dir"/[0-9]*/saved_model.pb >/dev/null 2>&1; then
    echo "$export_dir: not an export: there is no version in it, such as 1/saved_model.pb." >&2
    exit 1
fi
exec "${CONTAINER:-docker}" run --rm --init \
    --publish "127.0.0.1:${REST_PORT:-8501}:8501" \
    --publish "127.0.0.1:${GRPC_PORT:-8500}:8500" \
    --volume "$export_dir:/models/camformer:ro" \
    --volume "$here/tf-serving:/config:ro" \
    "${IMAGE:-tensorflow/serving}" \
    --model_config_file=/config/models.config \
    --enable_batching=true \
    --batching_parameters_file=/config/batching.config \
    --monitoring_config_file=/config/monitoring.config \
    --rest_api_enable_cors_support=true \
    "${@:2}"

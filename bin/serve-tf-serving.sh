#!/usr/bin/env bash
# Serves an export by TensorFlow Serving in a container:
# bin/serve-tf-serving.sh EXPORT_DIR [OPTIONS OF tensorflow_model_server]
# REST on port 8501 and gRPC on 8500 of this machine alone; other ports, the image and the program by
# REST_PORT, GRPC_PORT, IMAGE and CONTAINER. Its configuration is in bin/tf-serving/. A newer version
# in EXPORT_DIR is taken up by itself. A signal to end ends the server.
set -euo pipefail
export_dir=$(cd "${1:?"usage: bin/serve-tf-serving.sh EXPORT_DIR [OPTIONS]"}" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
if ! ls -d "$export_dir"/[0-9]*/saved_model.pb >/dev/null 2>&1; then
    echo "$export_dir: no version of an export in it, such as 1/saved_model.pb." >&2
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

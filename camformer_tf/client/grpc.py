"""A served model by TensorFlow Serving's gRPC API. Needs the extra `grpc`."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from camformer_tf import errors
from camformer_tf.client import connection

_BIGGEST = 1 << 28  # bytes of a message


def connect(where: connection.Address, timeout: float, retries: int) -> connection.Connection:
    """Returns a connection; see `client.connect`.

    Raises:
        errors.UserError: the extra is not installed.
    """
    try:
        import grpc
        from tensorflow_serving.apis import (
            get_model_metadata_pb2,
            get_model_status_pb2,
            model_service_pb2_grpc,
            predict_pb2,
            prediction_service_pb2_grpc,
            regression_pb2,
        )
    except ImportError as error:
        raise errors.UserError(
            f'{where}: gRPC needs an extra: pip install "camformer-tf[grpc]". Or use the server\'s '
            "REST address, http://."
        ) from error

    channel = grpc.insecure_channel(where.host, options=_options(retries))
    questions = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    states = model_service_pb2_grpc.ModelServiceStub(channel)

    def ask(method, request, version: int | None = where.version):
        request.model_spec.name = where.name
        if version is not None:
            request.model_spec.version.value = version
        try:
            return method(request, timeout=timeout)
        except grpc.RpcError as error:
            raise errors.UserError(f"{where}: {error.code().name}: {error.details()}") from error

    def predict(sequences: Sequence[str]) -> dict[str, np.ndarray]:
        request = predict_pb2.PredictRequest()
        letters = tf.make_tensor_proto([one.encode() for one in sequences], tf.string)
        request.inputs["sequence"].CopyFrom(letters)
        outputs = ask(questions.Predict, request).outputs
        return {name: tf.make_ndarray(values) for name, values in outputs.items()}

    def regress(sequences: Sequence[str]) -> np.ndarray:
        request = regression_pb2.RegressionRequest()
        request.model_spec.signature_name = "regress"
        for one in sequences:
            example = request.input.example_list.examples.add()
            example.features.feature["sequence"].bytes_list.value.append(one.encode())
        found = ask(questions.Regress, request).result.regressions
        return np.array([one.value for one in found], np.float32)

    def versions() -> list[int]:
        request = get_model_status_pb2.GetModelStatusRequest()
        found = ask(states.GetModelStatus, request, version=None).model_version_status
        available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        return sorted(one.version for one in found if one.state == available)

    def signatures() -> list[str]:
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        packed = ask(questions.GetModelMetadata, request).metadata["signature_def"]
        found = get_model_metadata_pb2.SignatureDefMap()
        packed.Unpack(found)
        return sorted(found.signature_def)

    return connection.Connection(where, predict, regress, versions, signatures, lambda: None)


def _options(retries: int) -> list[tuple[str, object]]:
    """Returns a channel's options: large messages, and calls repeated where the server is away or
    busy. gRPC repeats a call four times at most.
    """
    again = {
        "maxAttempts": min(retries, 4) + 1,
        "initialBackoff": "0.2s",
        "maxBackoff": "10s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"],
    }
    config = {"methodConfig": [{"name": [{}], "retryPolicy": again}]} if retries else {}
    return [
        ("grpc.service_config", json.dumps(config)),
        ("grpc.max_send_message_length", _BIGGEST),
        ("grpc.max_receive_message_length", _BIGGEST),
    ]

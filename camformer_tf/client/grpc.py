"""A served model by TensorFlow Serving's gRPC API. Needs the extra `grpc`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from camformer_tf import errors
from camformer_tf.client import connection

_LARGEST = 1 << 28  # bytes of a message


class GrpcConnection:
    """A connection over gRPC: see `connection.Connection`."""

    def __init__(self, address: connection.Address, timeout: float, retries: int) -> None:
        """Prepares a connection; nothing is asked yet.

        Args:
            address: of scheme grpc.
            timeout: seconds for each answer.
            retries: see `engine.connect`.

        Raises:
            errors.UserError: the extra is not installed.
        """
        try:
            import grpc
            from tensorflow_serving.apis import (
                model_service_pb2_grpc,
                prediction_service_pb2_grpc,
            )
        except ImportError as error:
            raise errors.UserError(
                f'{address}: gRPC needs an extra: pip install "camformer-tf[grpc]". Or use the '
                "server's REST address, http://."
            ) from error
        self.address = address
        self._timeout = timeout
        channel = grpc.insecure_channel(address.host, options=_options(retries))
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(channel)

    def predict(self, sequences: Sequence[str]) -> dict[str, np.ndarray]:
        """Returns the outputs of `serving_default` for N sequences, by name, (N,) each."""
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        tensor = tf.make_tensor_proto([sequence.encode() for sequence in sequences], tf.string)
        request.inputs["sequence"].CopyFrom(tensor)
        outputs = self._ask(self._predictions.Predict, request).outputs
        arrays = {name: tf.make_ndarray(values) for name, values in outputs.items()}
        return connection.check_outputs(self.address, arrays, len(sequences))

    def regress(self, sequences: Sequence[str]) -> np.ndarray:
        """Returns the expression of N sequences, float32 (N,), by the Regress API."""
        from tensorflow_serving.apis import regression_pb2

        request = regression_pb2.RegressionRequest()
        request.model_spec.signature_name = "regress"
        for sequence in sequences:
            example = request.input.example_list.examples.add()
            example.features.feature["sequence"].bytes_list.value.append(sequence.encode())
        regressions = self._ask(self._predictions.Regress, request).result.regressions
        values = np.array([regression.value for regression in regressions], np.float32)
        connection.check_outputs(self.address, {"expression": values}, len(sequences))
        return values

    def versions(self) -> list[int]:
        """Returns the numbers of the versions that are available, in ascending order."""
        from tensorflow_serving.apis import get_model_status_pb2

        request = get_model_status_pb2.GetModelStatusRequest()
        answer = self._ask(self._models.GetModelStatus, request, any_version=True)
        available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        states = answer.model_version_status
        return sorted(state.version for state in states if state.state == available)

    def signatures(self) -> list[str]:
        """Returns the names of the model's signatures."""
        return sorted(self._signatures())

    def length(self) -> int | None:
        """Returns the number of letters that the model reads; None if its metadata has none."""
        try:
            onehot = self._signatures()["onehot"].inputs["onehot"]
            return onehot.tensor_shape.dim[1].size  # of (N, L, C)
        except (errors.UserError, LookupError):
            return None

    def card(self) -> None:
        """Returns None: the protocol has no message for the model card."""

    def _signatures(self) -> dict[str, Any]:
        from tensorflow_serving.apis import get_model_metadata_pb2

        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        answer = self._ask(self._predictions.GetModelMetadata, request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(signatures)
        return dict(signatures.signature_def)

    def _ask(self, method: Callable, request: Any, *, any_version: bool = False) -> Any:
        """Returns the answer of a method to a request, which is given the model's name."""
        import grpc

        request.model_spec.name = self.address.name
        if self.address.version is not None and not any_version:
            request.model_spec.version.value = self.address.version
        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            reason = f"{error.code().name}: {error.details()}"
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                reason = f"no server answers ({reason}). Is it running?"
            raise errors.UserError(f"{self.address}: {reason}") from error


def _options(retries: int) -> list[tuple[str, object]]:
    """Returns a channel's options: large messages, and repeats where the server is busy or away.

    gRPC repeats a call four times at most.
    """
    policy = {
        "maxAttempts": min(retries, 4) + 1,
        "initialBackoff": "0.2s",
        "maxBackoff": "10s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"],
    }
    config = {"methodConfig": [{"name": [{}], "retryPolicy": policy}]} if retries else {}
    return [
        ("grpc.service_config", json.dumps(config)),
        ("grpc.max_send_message_length", _LARGEST),
        ("grpc.max_receive_message_length", _LARGEST),
    ]

"""TensorFlow Serving's gRPC services: PredictionService and ModelService, with its messages.

Source: predict_util.cc, regressor.cc and get_model_metadata_impl.cc in servables/tensorflow,
tensorflow/serving.
"""

from __future__ import annotations

import logging
import time
import types
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from camformer_tf import errors
from camformer_tf.server import examples, models, refusal
from camformer_tf.server import service as services

_log = logging.getLogger(__name__)
_SIGNATURES = "signature_def"
_FIELDS = {  # type → field of a TensorProto that holds its values
    "half": "half_val", "bfloat16": "half_val", "float": "float_val", "double": "double_val",
    "int8": "int_val", "int16": "int_val", "int32": "int_val", "uint8": "int_val",
    "uint16": "int_val", "int64": "int64_val", "uint32": "uint32_val", "uint64": "uint64_val",
    "bool": "bool_val", "string": "string_val",
}  # fmt: skip

Method = Callable[[Any, Any], Awaitable[Any]]  # request, grpc.aio.ServicerContext → response


async def start(service: services.Service) -> tuple[Any, int]:
    """Returns a started grpc.aio.Server, and its port.

    Raises:
        errors.UserError: grpcio or tensorflow-serving-api is not installed, or the port is in use.
    """
    try:
        import grpc
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc
    except ImportError as error:
        raise errors.UserError(
            'gRPC needs tensorflow-serving-api: pip install "camformer-tf[grpc]".'
        ) from error
    limit = service.options.max_request_bytes
    sizes = [("grpc.max_receive_message_length", limit), ("grpc.max_send_message_length", -1)]
    server = grpc.aio.server(options=[*sizes, ("grpc.so_reuseport", 0)])
    methods = _Methods(service)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        types.SimpleNamespace(
            Predict=methods.handler("Predict", methods.predict),
            Regress=methods.handler("Regress", methods.regress),
            GetModelMetadata=methods.handler("GetModelMetadata", methods.metadata),
            Classify=methods.handler("Classify", methods.refuse),
            MultiInference=methods.handler("MultiInference", methods.refuse),
        ),
        server,
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(
        types.SimpleNamespace(
            GetModelStatus=methods.handler("GetModelStatus", methods.status),
            HandleReloadConfigRequest=methods.handler("HandleReloadConfigRequest", methods.refuse),
        ),
        server,
    )
    host = service.options.host
    address = f"{f'[{host}]' if ':' in host else host}:{service.options.grpc_port}"
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise errors.UserError(
            f"gRPC cannot listen on {address}. Choose another --host or --grpc-port; 0 takes a "
            "free one."
        ) from error
    await server.start()
    return server, port


class _Methods:
    """The methods of both services: request and context → response."""

    def __init__(self, service: services.Service) -> None:
        self._service = service

    def handler(self, name: str, method: Method) -> Method:
        """Returns a method whose refusals become codes, and whose calls are counted."""
        import grpc

        service = self._service

        async def handle(request: Any, context: Any) -> Any:
            begin, code = time.perf_counter(), "CANCELLED"
            service.open_requests += 1
            try:
                if method != self.status:
                    service.require_ready()
                response = await method(request, context)
                code = "OK"
                return response
            except refusal.Refusal as error:
                code = error.code
                await context.abort(grpc.StatusCode[code], error.message)
            except Exception:
                _log.exception("gRPC %s", name)
                code = "INTERNAL"
                await context.abort(grpc.StatusCode.INTERNAL, "The server failed; see its log")
            finally:
                service.open_requests -= 1
                seconds = time.perf_counter() - begin
                service.counters.count_request(f"grpc.{name}", code, seconds)

        return handle

    async def refuse(self, request: Any, context: Any) -> Any:
        """Refuses a method that only TensorFlow Serving has."""
        raise refusal.Refusal("UNIMPLEMENTED", "This server does not support this method")

    async def predict(self, request: Any, context: Any) -> Any:
        """PredictRequest → PredictResponse."""
        from tensorflow_serving.apis import predict_pb2

        version, name = self._version(request.model_spec)
        if name not in version.signatures:
            raise refusal.Refusal(
                "FAILED_PRECONDITION", f'Serving signature key "{name}" not found.'
            )
        signature = version.signatures[name]
        keys = _output_keys(request, signature)
        inputs = _inputs(request, signature, self._service.options.max_request_bytes)
        outputs = await self._compute(context, version, signature, inputs)
        response = predict_pb2.PredictResponse()
        self._fill_spec(response.model_spec, version, name)
        for key in keys:
            response.outputs[key].CopyFrom(write(outputs[key], signature.outputs[key]))
        return response

    async def regress(self, request: Any, context: Any) -> Any:
        """RegressionRequest → RegressionResponse."""
        from tensorflow_serving.apis import regression_pb2

        version, name = self._version(request.model_spec)
        signature = version.signature_for(models.REGRESS, name)
        with_context = request.input.example_list_with_context
        context_bytes = with_context.context.SerializeToString()
        messages = request.input.example_list.examples or with_context.examples
        if not messages:
            raise refusal.invalid("Input is empty.")
        # Messages merge when their bytes are joined.
        strings = [context_bytes + message.SerializeToString() for message in messages]
        inputs = dict.fromkeys(signature.inputs, examples.as_array(strings))  # (N,)
        (values,) = (await self._compute(context, version, signature, inputs)).values()
        response = regression_pb2.RegressionResponse()
        self._fill_spec(response.model_spec, version, name)
        for value in values.reshape(-1).tolist():  # (N,)
            response.result.regressions.add(value=value)
        return response

    async def metadata(self, request: Any, context: Any) -> Any:
        """GetModelMetadataRequest → GetModelMetadataResponse."""
        from tensorflow_serving.apis import get_model_metadata_pb2

        if not request.metadata_field:
            raise refusal.invalid(
                "GetModelMetadataRequest must specify at least one metadata_field"
            )
        if extra := set(request.metadata_field) - {_SIGNATURES}:
            raise refusal.invalid(f"Metadata field {min(extra)} is not supported")
        version, _ = self._version(request.model_spec)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in version.signatures.items():
            signatures.signature_def[name].CopyFrom(signature.definition)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        self._fill_spec(response.model_spec, version, "")
        response.metadata[_SIGNATURES].Pack(signatures)
        return response

    async def status(self, request: Any, context: Any) -> Any:
        """GetModelStatusRequest → GetModelStatusResponse."""
        from google.protobuf import json_format
        from tensorflow_serving.apis import get_model_status_pb2

        spec, versions = request.model_spec, self._service.versions
        number = spec.version.value if spec.HasField("version") else None
        number = versions.number_for(spec.version_label) if spec.version_label else number
        statuses = services.status_json(versions.statuses(spec.name, number))
        return json_format.ParseDict(statuses, get_model_status_pb2.GetModelStatusResponse())

    def _version(self, spec: Any) -> tuple[models.Version, str]:
        """Returns the version and the name of the signature that a ModelSpec asks for."""
        number = spec.version.value if spec.HasField("version") else None
        version = self._service.versions.find(spec.name, number, spec.version_label)
        return version, spec.signature_name or models.DEFAULT

    def _fill_spec(self, spec: Any, version: models.Version, signature: str) -> None:
        spec.name, spec.signature_name = self._service.versions.name, signature
        spec.version.value = version.number

    async def _compute(
        self,
        context: Any,
        version: models.Version,
        signature: models.Signature,
        inputs: models.Arrays,
    ) -> models.Arrays:
        limit, deadline = self._service.options.timeout, context.time_remaining()
        timeout = limit if deadline is None else max(0.0, min(deadline, limit))
        future = self._service.batcher.submit(version, signature, inputs)
        return await self._service.wait(future, timeout)


# === Messages and arrays ===


def _output_keys(request: Any, signature: models.Signature) -> list[str]:
    keys = list(request.output_filter) or list(signature.outputs)
    if extra := set(keys) - set(signature.outputs):
        raise refusal.invalid(
            f"output tensor alias not found in signature: {min(extra)} Outputs expected to be in "
            f"the set {{{','.join(signature.outputs)}}}."
        )
    if len(set(keys)) < len(keys):
        raise refusal.invalid(f"duplicate output tensor alias: {', '.join(keys)}")
    return keys


def _inputs(request: Any, signature: models.Signature, limit: int) -> models.Arrays:
    inputs = {}
    for name, message in request.inputs.items():
        if name not in signature.inputs:
            raise refusal.invalid(
                f"input tensor alias not found in signature: {name}. Inputs expected to be in the "
                f"set {{{','.join(signature.inputs)}}}."
            )
        inputs[name] = read(message, signature.inputs[name], limit)
    return inputs


def read(message: Any, tensor: models.Tensor, limit: int) -> np.ndarray:
    """Returns a TensorProto as an array.

    Args:
        message: The TensorProto.
        tensor: Type that it must have.
        limit: Maximum size of the array in bytes; a single value may stand for a whole tensor.

    Raises:
        refusal.Refusal: It has another type, is malformed, or is too large.
    """
    sizes = [dim.size for dim in message.tensor_shape.dim]
    if message.dtype != tf.as_dtype(tensor.dtype).as_datatype_enum:
        raise refusal.invalid(f"Expected {tensor.kind}, found DataType {message.dtype}")
    if message.tensor_shape.unknown_rank or any(size < 0 for size in sizes):
        raise refusal.invalid("The shape of a tensor must be known")
    if np.prod(sizes, dtype=np.float64) * tensor.dtype.itemsize > limit:
        raise refusal.invalid(f"A tensor of shape {sizes} is larger than {limit} bytes")
    try:
        return tf.make_ndarray(message)
    except (ValueError, TypeError, IndexError) as error:
        raise refusal.invalid(f"Malformed tensor: {error}") from error


def write(array: np.ndarray, tensor: models.Tensor) -> tensor_pb2.TensorProto:
    """Returns an array as a TensorProto with its values in the field of their type.

    Clients that do not know `tensor_content` look for them there.
    """
    message = tensor_pb2.TensorProto(dtype=tf.as_dtype(tensor.dtype).as_datatype_enum)
    for size in array.shape:
        message.tensor_shape.dim.add(size=size)
    values = array.reshape(-1)  # in row-major order, as the field is read
    if tensor.kind in ("half", "bfloat16"):
        values = values.view(np.uint16)  # half_val holds the bits
    getattr(message, _FIELDS[tensor.kind]).extend(values.tolist())
    return message

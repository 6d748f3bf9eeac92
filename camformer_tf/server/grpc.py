"""TensorFlow Serving's gRPC services: PredictionService and ModelService, with its messages.

Source: predict_util.cc, regressor.cc and get_model_metadata_impl.cc in servables/tensorflow,
tensorflow/serving.
"""

from __future__ import annotations

import logging
import time
import types

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from camformer_tf import errors
from camformer_tf.server import examples, models, refusal, service

_log = logging.getLogger(__name__)
_SIGNATURES = "signature_def"
_FIELDS = {  # where a type's values are
    "half": "half_val", "bfloat16": "half_val", "float": "float_val", "double": "double_val",
    "int8": "int_val", "int16": "int_val", "int32": "int_val", "uint8": "int_val",
    "uint16": "int_val", "int64": "int64_val", "uint32": "uint32_val", "uint64": "uint64_val",
    "bool": "bool_val", "string": "string_val",
}  # fmt: skip


async def start(of: service.Service):
    """Returns the started server, and its port.

    Raises:
        errors.UserError: grpcio or tensorflow-serving-api is not installed, or the port is taken.
    """
    try:
        import grpc
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc
    except ImportError as error:
        raise errors.UserError(
            'gRPC needs tensorflow-serving-api: pip install "camformer-tf[grpc]".'
        ) from error
    limit = of.options.max_request_bytes
    sizes = [("grpc.max_receive_message_length", limit), ("grpc.max_send_message_length", -1)]
    server = grpc.aio.server(options=[*sizes, ("grpc.so_reuseport", 0)])
    answers = {
        "Predict": _predict, "Regress": _regress, "GetModelMetadata": _metadata,
        "Classify": _unimplemented, "MultiInference": _unimplemented,
    }  # fmt: skip
    states = {"GetModelStatus": _status, "HandleReloadConfigRequest": _unimplemented}

    def servicer(methods: dict):
        return types.SimpleNamespace(**{name: _handler(of, name, f) for name, f in methods.items()})

    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer(answers), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(servicer(states), server)
    host = of.options.host
    address = f"{f'[{host}]' if ':' in host else host}:{of.options.grpc_port}"
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise errors.UserError(f"gRPC cannot listen on {address}. Choose another port.") from error
    await server.start()
    return server, port


def _handler(of: service.Service, name: str, answer):
    """Returns a method of a service: refusals become codes, and all is counted."""
    import grpc

    async def handle(request, context):
        start, code = time.perf_counter(), "CANCELLED"
        of.open += 1
        try:
            if answer is not _status:
                of.refuse_unless_open()
            response = await answer(of, request, context)
            code = "OK"
            return response
        except refusal.Refused as error:
            code = error.code
            await context.abort(grpc.StatusCode[code], error.message)
        except Exception:
            _log.exception("gRPC %s", name)
            code = "INTERNAL"
            await context.abort(grpc.StatusCode.INTERNAL, "The server failed; see its log")
        finally:
            of.open -= 1
            of.metrics.request(f"grpc.{name}", code, time.perf_counter() - start)

    return handle


async def _unimplemented(of, request, context):
    raise refusal.Refused("UNIMPLEMENTED", "This server does not do that")


async def _predict(of, request, context):
    from tensorflow_serving.apis import predict_pb2

    spec = request.model_spec
    version = _version(of, spec)
    name = spec.signature_name or models.DEFAULT
    if name not in version.signatures:
        raise refusal.Refused("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
    signature = version.signatures[name]
    wanted = list(request.output_filter) or list(signature.outputs)
    if strange := set(wanted) - set(signature.outputs):
        raise refusal.invalid(
            f"output tensor alias not found in signature: {min(strange)} Outputs expected to be in "
            f"the set {{{','.join(signature.outputs)}}}."
        )
    if len(set(wanted)) < len(wanted):
        raise refusal.invalid(f"duplicate output tensor alias: {', '.join(wanted)}")
    outputs = await _outputs(of, context, version, signature, _inputs(of, request, signature))
    response = predict_pb2.PredictResponse()
    _fill_spec(response.model_spec, of, version, name)
    for key in wanted:
        response.outputs[key].CopyFrom(write(outputs[key], signature.outputs[key]))
    return response


async def _regress(of, request, context):
    from tensorflow_serving.apis import regression_pb2

    spec = request.model_spec
    version = _version(of, spec)
    name = spec.signature_name or models.DEFAULT
    signature = version.method(name, models.REGRESS)
    given = request.input
    head = given.example_list_with_context.context.SerializeToString()
    listed = given.example_list.examples or given.example_list_with_context.examples
    if not listed:
        raise refusal.invalid("Input is empty.")
    array = examples.serialized([head + example.SerializeToString() for example in listed])
    inputs = dict.fromkeys(signature.inputs, array)
    (values,) = (await _outputs(of, context, version, signature, inputs)).values()
    response = regression_pb2.RegressionResponse()
    _fill_spec(response.model_spec, of, version, name)
    for value in values.reshape(-1).tolist():
        response.result.regressions.add(value=value)
    return response


async def _metadata(of, request, context):
    from tensorflow_serving.apis import get_model_metadata_pb2

    if not request.metadata_field:
        raise refusal.invalid("GetModelMetadataRequest must specify at least one metadata_field")
    if strange := set(request.metadata_field) - {_SIGNATURES}:
        raise refusal.invalid(f"Metadata field {min(strange)} is not supported")
    version = _version(of, request.model_spec)
    known = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in version.signatures.items():
        known.signature_def[name].CopyFrom(signature.definition)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    _fill_spec(response.model_spec, of, version, "")
    response.metadata[_SIGNATURES].Pack(known)
    return response


async def _status(of, request, context):
    from google.protobuf import json_format
    from tensorflow_serving.apis import get_model_status_pb2

    spec = request.model_spec
    number = spec.version.value if spec.HasField("version") else None
    number = of.versions.labelled(spec.version_label) if spec.version_label else number
    states = service.status_json(of.versions.states(spec.name, number))
    return json_format.ParseDict(states, get_model_status_pb2.GetModelStatusResponse())


def _version(of: service.Service, spec) -> models.Version:
    number = spec.version.value if spec.HasField("version") else None
    return of.versions.find(spec.name, number, spec.version_label)


def _fill_spec(spec, of: service.Service, version: models.Version, signature: str) -> None:
    spec.name, spec.signature_name = of.versions.name, signature
    spec.version.value = version.number


async def _outputs(of, context, version, signature, inputs) -> models.Arrays:
    seconds, left = of.options.timeout, context.time_remaining()
    answer = of.batcher.submit(version, signature, inputs)
    return await of.outputs(answer, seconds if left is None else max(0.0, min(left, seconds)))


# === Messages and arrays ===


def _inputs(of: service.Service, request, signature: models.Signature) -> models.Arrays:
    limit = of.options.max_request_bytes
    inputs = {}
    for name, message in request.inputs.items():
        if name not in signature.inputs:
            raise refusal.invalid(
                f"input tensor alias not found in signature: {name}. Inputs expected to be in the "
                f"set {{{','.join(signature.inputs)}}}."
            )
        inputs[name] = read(message, signature.inputs[name], limit)
    return inputs


def read(message, tensor: models.Tensor, limit: int) -> np.ndarray:
    """Returns a TensorProto as an array.

    Raises:
        refusal.Refused: of another type, malformed, or larger than `limit` bytes: one value may
            stand for any number.
    """
    sizes = [dim.size for dim in message.tensor_shape.dim]
    if message.dtype != tf.as_dtype(tensor.dtype).as_datatype_enum:
        raise refusal.invalid(f"Expected {tensor.kind}, found DataType {message.dtype}")
    if message.tensor_shape.unknown_rank or any(size < 0 for size in sizes):
        raise refusal.invalid("A tensor's shape must be known")
    if np.prod(sizes, dtype=np.float64) * tensor.dtype.itemsize > limit:
        raise refusal.invalid(f"A tensor of shape {sizes} is larger than {limit} bytes")
    try:
        return tf.make_ndarray(message)
    except (ValueError, TypeError, IndexError) as error:
        raise refusal.invalid(f"A malformed tensor: {error}") from error


def write(array: np.ndarray, tensor: models.Tensor) -> tensor_pb2.TensorProto:
    """Returns an array as a TensorProto with its values in the field of their type, where clients
    that do not know `tensor_content` look for them.
    """
    message = tensor_pb2.TensorProto(dtype=tf.as_dtype(tensor.dtype).as_datatype_enum)
    for size in array.shape:
        message.tensor_shape.dim.add(size=size)
    flat = array.reshape(-1)
    if tensor.kind in ("half", "bfloat16"):
        flat = flat.view(np.uint16)
    getattr(message, _FIELDS[tensor.kind]).extend(flat.tolist())
    return message

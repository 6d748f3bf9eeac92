import threading

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from camformer_tf import errors
from camformer_tf.server import grpc as grpc_module
from camformer_tf.server import models, options, refusal, server


@pytest.fixture(scope="module")
def channel(toy_folder):
    with (
        server.serve(
            toy_folder, port=0, grpc_port=0, labels={"stable": 1}, max_batch_size=4,
            max_request_bytes=100_000, max_queue=500,
        ) as running,
        grpc.insecure_channel(running.grpc) as channel,
    ):  # fmt: skip
        yield channel


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def expected(toy_signatures):
    """Returns what version 2 predicts, as TensorFlow computes it."""
    return lambda s: toy_signatures["serving_default"](sequence=tf.constant(s))["expression"]


def request(sequences, name="camformer", **spec):
    message = predict_pb2.PredictRequest()
    message.model_spec.name = name
    for key, value in spec.items():
        if key == "version":
            message.model_spec.version.value = value
        else:
            setattr(message.model_spec, key, value)
    message.inputs["sequence"].CopyFrom(tf.make_tensor_proto(sequences, tf.string))
    return message


def failure(call, message, timeout=20):
    """Returns the code and the details of the error that a call gets."""
    with pytest.raises(grpc.RpcError) as error:
        call(message, timeout=timeout)
    return error.value.code().name, error.value.details()


def test_predict_gets_the_numbers_of_the_model(stub, sequences, expected):
    answer = stub.Predict(request(sequences), timeout=20)
    np.testing.assert_array_equal(
        tf.make_ndarray(answer.outputs["expression"]), expected(sequences)
    )
    assert tf.make_ndarray(answer.outputs["valid"]).all()
    assert tf.make_ndarray(answer.outputs["reason"]).tolist() == [0] * 9
    assert answer.model_spec.name == "camformer" and answer.model_spec.version.value == 2
    assert answer.model_spec.signature_name == "serving_default"


def test_values_are_in_the_field_of_their_type(stub, sequences):
    outputs = stub.Predict(request([sequences[0], "ACGT"]), timeout=20).outputs
    assert len(outputs["expression"].float_val) == 2 and np.isnan(
        outputs["expression"].float_val[1]
    )
    assert list(outputs["valid"].bool_val) == [True, False]
    assert list(outputs["reason"].int_val) == [0, 1]


def test_an_output_filter_selects_outputs(stub, sequences):
    message = request(sequences)
    message.output_filter.append("valid")
    assert set(stub.Predict(message, timeout=20).outputs) == {"valid"}
    message.output_filter.append("no")
    assert failure(stub.Predict, message)[0] == "INVALID_ARGUMENT"


def test_a_version_or_label_selects_the_version(stub, sequences, expected):
    for spec in ({"version": 1}, {"version_label": "stable"}):
        answer = stub.Predict(request(sequences, **spec), timeout=20)
        np.testing.assert_allclose(
            answer.outputs["expression"].float_val, expected(sequences) - 1, 1e-5
        )
        assert answer.model_spec.version.value == 1


def test_inputs_without_rows_are_accepted(stub):
    message = predict_pb2.PredictRequest()
    message.model_spec.name, message.model_spec.signature_name = "camformer", "pair"
    message.inputs["a"].CopyFrom(tf.make_tensor_proto(0.5))
    message.inputs["b"].CopyFrom(tf.make_tensor_proto([1, 2]))
    outputs = stub.Predict(message, timeout=20).outputs
    assert list(outputs["sum"].float_val) == [1.5, 2.5]
    assert list(outputs["name_bytes"].string_val) == [b"1", b"2"]


@pytest.mark.parametrize("context", [False, True])
def test_regress_gets_the_numbers_of_the_model(stub, sequences, expected, context):
    message = regression_pb2.RegressionRequest()
    message.model_spec.name, message.model_spec.signature_name = "camformer", "regress"
    field = "example_list_with_context" if context else "example_list"
    examples = getattr(message.input, field)
    for sequence in sequences:
        example = examples.examples.add()
        (examples.context if context else example).features.feature["x"].int64_list.value.append(1)
        example.features.feature["sequence"].bytes_list.value.append(sequence.encode())
    answer = stub.Regress(message, timeout=20)
    values = [regression.value for regression in answer.result.regressions]
    np.testing.assert_array_equal(np.float32(values), expected(sequences))
    assert answer.model_spec.version.value == 2


def test_metadata_holds_the_signatures(stub):
    message = get_model_metadata_pb2.GetModelMetadataRequest()
    message.model_spec.name = "camformer"
    assert failure(stub.GetModelMetadata, message)[0] == "INVALID_ARGUMENT"
    message.metadata_field.append("signature_def")
    answer = stub.GetModelMetadata(message, timeout=20)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    assert signatures.signature_def["regress"].method_name == models.REGRESS
    sequence = signatures.signature_def["serving_default"].inputs["sequence"]
    assert sequence.dtype == tf.string.as_datatype_enum


def test_status_lists_the_versions(channel):
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    message = get_model_status_pb2.GetModelStatusRequest()
    message.model_spec.name = "camformer"
    statuses = stub.GetModelStatus(message, timeout=20).model_version_status
    available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert [(status.version, status.state) for status in statuses] == [
        (2, available),
        (1, available),
    ]
    message.model_spec.version.value = 9
    assert failure(stub.GetModelStatus, message)[0] == "NOT_FOUND"


def with_shape(*sizes):
    message = request(["A"])
    del message.inputs["sequence"].tensor_shape.dim[:]
    for size in sizes:
        message.inputs["sequence"].tensor_shape.dim.add(size=size)
    return message


def with_numbers():
    message = request(["A"])
    message.inputs["sequence"].CopyFrom(tf.make_tensor_proto([1.0]))
    return message


def with_missing_bytes():
    message = predict_pb2.PredictRequest()
    message.model_spec.name, message.model_spec.signature_name = "camformer", "onehot"
    message.inputs["onehot"].CopyFrom(tf.make_tensor_proto(np.zeros((1, 110, 4), np.float32)))
    message.inputs["onehot"].tensor_content = message.inputs["onehot"].tensor_content[:-3]
    return message


def with_extra_input():
    message = request(["A"])
    message.inputs["dna"].CopyFrom(message.inputs["sequence"])
    return message


def without_input():
    message = request(["A"])
    del message.inputs["sequence"]
    return message


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: request(["A"], name="other"), "NOT_FOUND"),
        (lambda: request(["A"], version=9), "NOT_FOUND"),
        (lambda: request(["A"], version_label="x"), "INVALID_ARGUMENT"),
        (lambda: request(["A"], signature_name="x"), "FAILED_PRECONDITION"),
        (lambda: request([["A"]]), "INVALID_ARGUMENT"),
        (lambda: request(["A"] * 501), "INVALID_ARGUMENT"),
        (lambda: with_shape(10**9), "INVALID_ARGUMENT"),
        (lambda: with_shape(10**6, 10**6, 10**6), "INVALID_ARGUMENT"),
        (lambda: with_shape(-1), "INVALID_ARGUMENT"),
        (lambda: request(["A" * 200_000]), "RESOURCE_EXHAUSTED"),
        (with_numbers, "INVALID_ARGUMENT"),
        (with_missing_bytes, "INVALID_ARGUMENT"),
        (with_extra_input, "INVALID_ARGUMENT"),
        (without_input, "INVALID_ARGUMENT"),
    ],
)
def test_a_malformed_request_is_refused(stub, make, code):
    assert failure(stub.Predict, make())[0] == code


def test_regress_with_a_signature_of_another_api_is_refused(stub):
    message = regression_pb2.RegressionRequest()
    message.model_spec.name = "camformer"
    message.input.example_list.examples.add()
    code, details = failure(stub.Regress, message)
    assert code == "INVALID_ARGUMENT" and "method_name" in details
    message.model_spec.signature_name = "regress"
    code, details = failure(stub.Regress, message)  # an example without a sequence
    assert code == "INVALID_ARGUMENT" and "sequence" in details


def test_methods_that_only_tensorflow_serving_has_are_unimplemented(stub):
    for call, message in (
        (stub.Classify, classification_pb2.ClassificationRequest()),
        (stub.MultiInference, inference_pb2.MultiInferenceRequest()),
    ):
        assert failure(call, message)[0] == "UNIMPLEMENTED"


def test_a_deadline_of_the_client_is_respected(stub, sequences):
    assert failure(stub.Predict, request(sequences), timeout=1e-6)[0] == "DEADLINE_EXCEEDED"


def test_each_of_many_concurrent_requests_gets_its_own_rows(stub, sequences, expected):
    values, wrong = np.array(expected(sequences)), []

    def client(i):
        rows = [(i + j) % 9 for j in range(1 + i % 7)]
        for _ in range(5):
            answer = stub.Predict(request([sequences[row] for row in rows]), timeout=30)
            if not np.array_equal(np.float32(answer.outputs["expression"].float_val), values[rows]):
                wrong.append(i)

    threads = [threading.Thread(target=client, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_array_survives_the_way_through_a_message():
    for kind, array in {
        "float": np.float32([[1.5, np.nan]]), "int32": np.int32([-3]), "bool": np.array([True]),
        "string": np.array([b"\xff", b""], object), "half": np.float16([0.1, 3]),
    }.items():  # fmt: skip
        tensor = models.Tensor(array.dtype, kind, array.shape)
        message = grpc_module.write(array, tensor)
        np.testing.assert_array_equal(grpc_module.read(message, tensor, limit=1000), array)


def test_a_message_of_another_type_is_refused():
    message = tf.make_tensor_proto([1.0])
    tensor = models.Tensor(np.dtype(object), "string", (None,))
    with pytest.raises(refusal.Refusal, match="Expected string, found DataType 1"):
        grpc_module.read(message, tensor, limit=1000)


def test_a_port_in_use_is_the_users_mistake(toy_folder):
    with (
        server.serve(toy_folder, port=0, grpc_port=0) as running,
        pytest.raises(errors.UserError, match="Choose another --host or --grpc-port"),
        server.serve(toy_folder, port=0, grpc_port=int(running.grpc.split(":")[1])),
    ):
        pass


def test_the_default_is_no_grpc(toy_folder):
    assert options.ServerOptions().grpc_port is None
    with server.serve(toy_folder, port=0) as running:
        assert running.grpc is None

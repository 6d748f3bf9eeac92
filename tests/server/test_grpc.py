import threading

import grpc
import numpy as np
import pytest
import tensorflow as tf
from support import toy_export
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

from camformer_tf.server import models, server

OPTIONS = server.ServerOptions(
    port=0, grpc_port=0, labels={"stable": 1}, max_batch_size=4, max_request_bytes=100_000,
    max_queue=500,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grpc") / "toy"
    for version in (1, 2):
        toy_export.write(folder, version)
    return folder


@pytest.fixture(scope="module")
def channel(folder):
    with (
        server.background(folder, OPTIONS) as addresses,
        grpc.insecure_channel(addresses.grpc) as channel,
    ):
        yield channel


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def expected(folder):
    version = tf.saved_model.load(str(folder / "2"))
    return lambda s: version.signatures["serving_default"](sequence=tf.constant(s))["expression"]


@pytest.fixture(scope="module")
def some():
    letters = np.random.default_rng(0).choice(list("ACGT"), (9, 110))
    return ["".join(row) for row in letters]


def request(sequences, name="camformer", **spec):
    made = predict_pb2.PredictRequest()
    made.model_spec.name = name
    for key, value in spec.items():
        if key == "version":
            made.model_spec.version.value = value
        else:
            setattr(made.model_spec, key, value)
    made.inputs["sequence"].CopyFrom(tf.make_tensor_proto(sequences, tf.string))
    return made


def refused(call, made, timeout=20):
    with pytest.raises(grpc.RpcError) as error:
        call(made, timeout=timeout)
    return error.value.code().name, error.value.details()


def test_predict_gets_the_numbers_of_the_model(stub, some, expected):
    answer = stub.Predict(request(some), timeout=20)
    np.testing.assert_array_equal(tf.make_ndarray(answer.outputs["expression"]), expected(some))
    assert tf.make_ndarray(answer.outputs["valid"]).all()
    assert tf.make_ndarray(answer.outputs["reason"]).tolist() == [0] * 9
    assert answer.model_spec.name == "camformer" and answer.model_spec.version.value == 2
    assert answer.model_spec.signature_name == "serving_default"


def test_values_are_in_the_field_of_their_type(stub, some):
    outputs = stub.Predict(request([some[0], "ACGT"]), timeout=20).outputs
    assert len(outputs["expression"].float_val) == 2 and np.isnan(
        outputs["expression"].float_val[1]
    )
    assert list(outputs["valid"].bool_val) == [True, False]
    assert list(outputs["reason"].int_val) == [0, 1]


def test_only_the_outputs_asked_for_come_back(stub, some):
    made = request(some)
    made.output_filter.append("valid")
    assert set(stub.Predict(made, timeout=20).outputs) == {"valid"}
    made.output_filter.append("no")
    assert refused(stub.Predict, made)[0] == "INVALID_ARGUMENT"


def test_a_version_or_label_is_the_one_that_answers(stub, some, expected):
    for spec in ({"version": 1}, {"version_label": "stable"}):
        answer = stub.Predict(request(some, **spec), timeout=20)
        np.testing.assert_allclose(answer.outputs["expression"].float_val, expected(some) - 1, 1e-5)
        assert answer.model_spec.version.value == 1


def test_inputs_without_rows_are_taken(stub):
    made = predict_pb2.PredictRequest()
    made.model_spec.name, made.model_spec.signature_name = "camformer", "pair"
    made.inputs["a"].CopyFrom(tf.make_tensor_proto(0.5))
    made.inputs["b"].CopyFrom(tf.make_tensor_proto([1, 2]))
    outputs = stub.Predict(made, timeout=20).outputs
    assert list(outputs["sum"].float_val) == [1.5, 2.5]
    assert list(outputs["name_bytes"].string_val) == [b"1", b"2"]


@pytest.mark.parametrize("context", [False, True])
def test_regress_gets_the_numbers_of_the_model(stub, some, expected, context):
    made = regression_pb2.RegressionRequest()
    made.model_spec.name, made.model_spec.signature_name = "camformer", "regress"
    many = made.input.example_list_with_context if context else made.input.example_list
    for sequence in some:
        example = many.examples.add()
        (many.context if context else example).features.feature["x"].int64_list.value.append(1)
        example.features.feature["sequence"].bytes_list.value.append(sequence.encode())
    answer = stub.Regress(made, timeout=20)
    values = [regression.value for regression in answer.result.regressions]
    np.testing.assert_array_equal(np.float32(values), expected(some))
    assert answer.model_spec.version.value == 2


def test_metadata_holds_the_signatures(stub):
    made = get_model_metadata_pb2.GetModelMetadataRequest()
    made.model_spec.name = "camformer"
    assert refused(stub.GetModelMetadata, made)[0] == "INVALID_ARGUMENT"
    made.metadata_field.append("signature_def")
    answer = stub.GetModelMetadata(made, timeout=20)
    found = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(found)
    assert found.signature_def["regress"].method_name == models.REGRESS
    assert (
        found.signature_def["serving_default"].inputs["sequence"].dtype
        == tf.string.as_datatype_enum
    )


def test_status_lists_the_versions(channel):
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    made = get_model_status_pb2.GetModelStatusRequest()
    made.model_spec.name = "camformer"
    found = stub.GetModelStatus(made, timeout=20).model_version_status
    available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert [(status.version, status.state) for status in found] == [(2, available), (1, available)]
    made.model_spec.version.value = 9
    assert refused(stub.GetModelStatus, made)[0] == "NOT_FOUND"


def shaped(*sizes):
    made = request(["A"])
    del made.inputs["sequence"].tensor_shape.dim[:]
    for size in sizes:
        made.inputs["sequence"].tensor_shape.dim.add(size=size)
    return made


def numbers():
    made = request(["A"])
    made.inputs["sequence"].CopyFrom(tf.make_tensor_proto([1.0]))
    return made


def torn():
    made = predict_pb2.PredictRequest()
    made.model_spec.name, made.model_spec.signature_name = "camformer", "onehot"
    made.inputs["onehot"].CopyFrom(tf.make_tensor_proto(np.zeros((1, 110, 4), np.float32)))
    made.inputs["onehot"].tensor_content = made.inputs["onehot"].tensor_content[:-3]
    return made


def unnamed():
    made = request(["A"])
    made.inputs["dna"].CopyFrom(made.inputs["sequence"])
    return made


def missing():
    made = request(["A"])
    del made.inputs["sequence"]
    return made


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: request(["A"], name="other"), "NOT_FOUND"),
        (lambda: request(["A"], version=9), "NOT_FOUND"),
        (lambda: request(["A"], version_label="x"), "INVALID_ARGUMENT"),
        (lambda: request(["A"], signature_name="x"), "FAILED_PRECONDITION"),
        (lambda: request([["A"]]), "INVALID_ARGUMENT"),
        (lambda: request(["A"] * 501), "INVALID_ARGUMENT"),
        (lambda: shaped(10**9), "INVALID_ARGUMENT"),
        (lambda: shaped(10**6, 10**6, 10**6), "INVALID_ARGUMENT"),
        (lambda: shaped(-1), "INVALID_ARGUMENT"),
        (lambda: request(["A" * 200_000]), "RESOURCE_EXHAUSTED"),
        (numbers, "INVALID_ARGUMENT"),
        (torn, "INVALID_ARGUMENT"),
        (unnamed, "INVALID_ARGUMENT"),
        (missing, "INVALID_ARGUMENT"),
    ],
)
def test_what_is_malformed_is_refused(stub, make, code):
    assert refused(stub.Predict, make())[0] == code


def test_regress_by_a_signature_that_is_not_for_it_is_refused(stub):
    made = regression_pb2.RegressionRequest()
    made.model_spec.name = "camformer"
    made.input.example_list.examples.add()
    code, details = refused(stub.Regress, made)
    assert code == "INVALID_ARGUMENT" and "method_name" in details
    made.model_spec.signature_name = "regress"
    code, details = refused(stub.Regress, made)  # an example without a sequence
    assert code == "INVALID_ARGUMENT" and "sequence" in details


def test_what_it_does_not_do_it_says(stub):
    for call, made in (
        (stub.Classify, classification_pb2.ClassificationRequest()),
        (stub.MultiInference, inference_pb2.MultiInferenceRequest()),
    ):
        assert refused(call, made)[0] == "UNIMPLEMENTED"


def test_a_deadline_that_has_passed_is_kept(stub, some):
    assert refused(stub.Predict, request(some), timeout=1e-6)[0] == "DEADLINE_EXCEEDED"


def test_of_concurrent_requests_each_gets_its_own_rows(stub, some, expected):
    values, wrong = np.array(expected(some)), []

    def client(i):
        rows = [(i + j) % 9 for j in range(1 + i % 7)]
        for _ in range(5):
            answer = stub.Predict(request([some[row] for row in rows]), timeout=30)
            if not np.array_equal(np.float32(answer.outputs["expression"].float_val), values[rows]):
                wrong.append(i)

    threads = [threading.Thread(target=client, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong

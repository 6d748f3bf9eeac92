import json
import math

import numpy as np
import pytest
from hypothesis import given, strategies
from support import asgi

from camformer_tf.server import models, refusal, tensors

PREDICT = "/v1/models/camformer:predict"
STRINGS = {"sequence": models.Tensor(np.dtype(object), "string", (None,))}

# === JSON → arrays ===


def test_rows_and_columns_are_the_same_arrays():
    rows = tensors.read({"instances": [{"sequence": "AC"}, {"sequence": "G"}]}, STRINGS)
    values = tensors.read({"instances": ["AC", "G"]}, STRINGS)
    columns = tensors.read({"inputs": {"sequence": ["AC", "G"]}}, STRINGS)
    assert [has_rows for _, has_rows in (rows, values, columns)] == [True, True, False]
    for arrays, _ in (rows, values, columns):
        assert arrays["sequence"].tolist() == [b"AC", b"G"]


def test_a_nested_list_is_an_array_of_its_shape():
    tensor = models.Tensor(np.dtype(np.float32), "float", None)
    array = tensors.array([[[1, 2.5]], [[3, 4]]], tensor)
    assert array.shape == (2, 1, 2) and array.dtype == np.float32
    assert array.tolist() == [[[1, 2.5]], [[3, 4]]]


def test_base64_stands_for_bytes():
    array = tensors.array([{"b64": "AP8="}, "A"], STRINGS["sequence"])
    assert array.tolist() == [b"\x00\xff", b"A"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"{", "JSON Parse error"),
        (b'{"instances": ["A\xff"]}', "JSON Parse error"),
        (b'{"instances": ["A"], "instances": ["C"]}', "'instances' occurs twice"),
        (b"[" * 100_0, "JSON Parse error: nested too deeply"),
        (b'{"instances": [' + b"9" * 5000 + b"]}", "JSON Parse error"),
        (b"[]", "JSON Value: [] Is not object"),
        (b"{}", "Missing 'inputs' or 'instances' key"),
        (b'{"instances": ["A"], "inputs": ["A"]}', "expecting only one of"),
        (b'{"instances": "A"}', "Excepting 'instances' to be an list/array"),
        (b'{"instances": []}', "No values in 'instances' array"),
        (b'{"instances": [1]}', "JSON Value: 1 Type: Number is not of expected type: string"),
        (b'{"instances": [null]}', "Type: Null is not of expected type: string"),
        (b'{"instances": [["A"], "C"]}', "found at incorrect level: 2"),
        (b'{"instances": ["A", ["C"]]}', "Encountered list at unexpected level: 1 expected < 1"),
        (b'{"instances": [["A"], ["C", "G"]]}', "unexpected size: 2 at level: 1 expected size: 1"),
        (b'{"instances": [["A"]]}', "Input sequence: expected shape [?] but got: [1,1]"),
        (b'{"instances": [{"sequence": "A"}, "C"]}', "Expecting object but got list at item 1"),
        (b'{"instances": ["A", {"sequence": "C"}]}', "value/list but got object at item 1"),
        (b'{"instances": [{"dna": "A"}]}', "keys must be equal to: sequence"),
        (b'{"inputs": {"dna": ["A"]}}', "Missing named input: sequence in 'inputs' object."),
        (b'{"instances": [{"b64": "?"}]}', "Unable to base64 decode"),
        (b'{"inputs": [{"b64": 1}]}', "not formatted correctly for base64 data"),
        (b'{"instances": ["\\ud800"]}', "surrogate pair"),
        (b'{"instances": ["A"], "signature_name": 1}', "'signature_name' key must be a string"),
        (b'{"instances": ["A"], "signature_name": "x"}', '"x" not found in signature def'),
        (b'{"instances": [1], "signature_name": "pair"}', "instances is a plain list"),
        (b'{"inputs": [1], "signature_name": "pair"}', "inputs is a plain value/list"),
        (b'{"inputs": {"a": 1, "b": [0.5]}, "signature_name": "pair"}', "expected type: int32"),
        (b'{"inputs": {"a": 1, "b": [true]}, "signature_name": "pair"}', "expected type: int32"),
        (b'{"inputs": {"a": 1, "b": [1e3]}, "signature_name": "pair"}', "expected type: int32"),
        (b'{"inputs": {"a": 1, "b": [3000000000]}, "signature_name": "pair"}', "type: int32"),
        (b'{"inputs": {"a": 16777216, "b": [1]}, "signature_name": "pair"}', "loss of precision"),
        (b'{"inputs": {"a": 1e39, "b": [1]}, "signature_name": "pair"}', "loss of precision"),
        (b'{"inputs": {"a": "1", "b": [1]}, "signature_name": "pair"}', "expected type: float"),
    ],
)  # fmt: skip
def test_a_malformed_request_is_refused_in_the_words_of_tensorflow_serving(ask, body, message):
    assert message in asgi.error_message(ask("POST", PREDICT, body))


def test_floats_may_be_nan_infinite_or_whole(ask):
    request = b'{"inputs": {"a": %s, "b": [0]}, "signature_name": "pair"}'
    for token, value in ((b"NaN", math.nan), (b"-Infinity", -math.inf), (b"16777215", 16777215.0)):
        answer = ask("POST", PREDICT, request % token).json()["outputs"]["sum"]
        np.testing.assert_equal(answer, [value])


def test_a_long_value_is_cut_in_messages():
    assert tensors.excerpt({"a": [1, "b"]}) == '{"a": [1, "b"]}'
    assert tensors.excerpt("A" * 1000) == '"' + "A" * 99 + "..."


# === Arrays → JSON ===


@given(strategies.lists(strategies.floats(width=32)))
def test_numbers_in_json_read_as_the_same_float32(values):
    array = np.array(values, np.float32)
    numbers = json.loads(tensors.write_results(array))["results"]
    np.testing.assert_array_equal(np.array(numbers, np.float32), array)
    assert all(isinstance(number, float) for number in numbers)


@given(strategies.lists(strategies.floats()))
def test_numbers_in_json_read_as_the_same_float64(values):
    array = np.array(values, np.float64)
    numbers = json.loads(tensors.write_columns({"x": array}))["outputs"]
    np.testing.assert_array_equal(np.array(numbers), array)


def test_numbers_have_no_more_digits_than_they_need():
    values = np.array([0.2, 11.46, 3, 1e30, 1e-7, 16777216, 1 / 3], np.float32)
    assert tensors.write_results(values) == (
        b'{"results": [0.2, 11.46, 3.0, 1e+30, 1e-07, 16777216.0, 0.333333343]}'
    )


def test_nan_and_infinity_are_bare_words():
    values = np.array([np.nan, np.inf, -np.inf], np.float32)
    assert tensors.write_results(values) == b'{"results": [NaN, Infinity, -Infinity]}'


def test_outputs_whose_name_ends_in_bytes_are_written_in_base64():
    strings = np.array([b"\x00\xff", "é".encode()], object)
    assert tensors.write_columns({"x_bytes": strings[:1]}) == b'{"outputs": [{"b64": "AP8="}]}'
    assert json.loads(tensors.write_columns({"x": strings[1:]})) == {"outputs": ["é"]}


def test_several_outputs_are_written_as_objects():
    outputs = {"a%": np.array([1, 2]), "b": np.array([True, False])}
    assert json.loads(tensors.write_rows(outputs)) == {
        "predictions": [{"a%": 1, "b": True}, {"a%": 2, "b": False}]
    }


def test_outputs_of_different_lengths_are_not_written_as_rows():
    with pytest.raises(refusal.Refusal, match="inconsistent"):
        tensors.write_rows({"a": np.zeros(2), "b": np.zeros(3)})

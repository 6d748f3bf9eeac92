import asyncio
import json

import numpy as np
import pytest
import tensorflow as tf
from support import asgi

from camformer_tf.server import examples, refusal

REGRESS = "/v1/models/camformer:regress"


def parse(string):
    """Returns the features of a serialized tf.train.Example: name → values."""
    features = tf.train.Example.FromString(string).features.feature
    return {
        name: list(getattr(feature, feature.WhichOneof("kind")).value)
        for name, feature in features.items()
    }


def test_an_object_becomes_an_example_of_its_values():
    example = examples.serialize({"s": "AC", "n": [1, True], "x": 0.5, "b": {"b64": "AP8="}})
    assert parse(example) == {"s": [b"AC"], "n": [1, 1], "x": [0.5], "b": [b"\x00\xff"]}


def test_a_context_is_part_of_each_example():
    array = examples.from_json({"context": {"s": "A"}, "examples": [{}, {"x": 1}]}, "regress")
    assert array.shape == (2,) and array.dtype == object
    assert [parse(string) for string in array] == [{"s": [b"A"]}, {"s": [b"A"], "x": [1]}]


def test_byte_strings_of_any_length_are_an_array_of_objects():
    array = examples.as_array([b"", b"A\0", b"ACGT"])
    assert array.shape == (3,) and array.tolist() == [b"", b"A\0", b"ACGT"]


def test_a_number_beyond_its_type_is_refused():
    with pytest.raises(refusal.Refusal, match="outside the range of int64"):
        examples.serialize({"x": -(2**63) - 1})
    assert parse(examples.serialize({"x": -(2**63)})) == {"x": [-(2**63)]}


def test_regress_gets_the_numbers_of_the_model(ask, toy_signatures, sequences):
    features = [{"sequence": s} for s in sequences]
    answer = ask("POST", REGRESS, {"signature_name": "regress", "examples": features})
    outputs = toy_signatures["serving_default"](sequence=tf.constant(sequences))
    np.testing.assert_array_equal(
        np.float32(answer.json()["results"]), outputs["expression"].numpy()
    )


def test_regress_takes_the_context_as_part_of_each_example(ask, sequences):
    sequence = sequences[0]
    plain = {
        "signature_name": "regress",
        "examples": [{"sequence": sequence}, {"sequence": [sequence]}],
    }
    with_context = {
        "signature_name": "regress",
        "context": {"sequence": sequence},
        "examples": [{}, {"x": 1}],
    }
    assert ask("POST", REGRESS, with_context).body == ask("POST", REGRESS, plain).body


@pytest.mark.parametrize(
    ("request_json", "message"),
    [
        ({"examples": [{"sequence": "A"}]}, "method_name to be tensorflow/serving/regress. Was: "
                                            "tensorflow/serving/predict"),
        ({"examples": [{}], "signature_name": "x"}, "No signature was found with the name: x"),
        ({}, "key 'examples' is expected"),
        ({"examples": {}}, "'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": ["A"]}, "Example must be JSON object but got JSON String"),
        ({"examples": [{"x": None}]}, "has element with unexpected JSON type: Null"),
        ({"examples": [{"x": [["A"]]}]}, "has element with unexpected JSON type: Array"),
        ({"examples": [{"x": ["A", 1]}]}, "expecting type: bytes"),
        ({"examples": [{"x": 2**63}]}, "outside the range of int64"),
        ({"examples": [{"x": 1e39}]}, "without loss of precision"),
        ({"examples": [{"x": "\ud800"}]}, "surrogate pair"),
        ({"examples": [{"\ud800": "A"}]}, "is not a valid name"),
        ({"examples": [{"sequence": "A"}], "context": 1}, "Example must be JSON object"),
    ],
)  # fmt: skip
def test_malformed_examples_are_refused(ask, request_json, message):
    assert message in asgi.error_message(ask("POST", REGRESS, request_json))


def test_an_example_without_a_sequence_does_not_fail_others_in_its_call(run_app, sequences):
    bad = json.dumps({"signature_name": "regress", "examples": [{"x": 1}]}).encode()
    features = {"sequence": sequences[0]}
    good = json.dumps({"signature_name": "regress", "examples": [features]}).encode()

    async def use(app, service):
        requests = (asgi.ask(app, "POST", REGRESS, body) for body in [good, bad] * 8)
        return await asyncio.gather(*requests)

    answers = run_app(use)
    assert [answer.status for answer in answers] == [200, 400] * 8
    assert "sequence" in answers[1].json()["error"]

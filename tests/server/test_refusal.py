import grpc
import pytest
import tensorflow as tf

from camformer_tf.server import refusal


def test_every_code_is_one_of_grpc_with_its_number():
    numbers = {code.name: code.value[0] for code in grpc.StatusCode if code.name != "OK"}
    assert {name: number for name, (number, _) in refusal._CODES.items()} == numbers


@pytest.mark.parametrize(
    ("code", "status"), [("INVALID_ARGUMENT", 400), ("NOT_FOUND", 404), ("UNAVAILABLE", 503)]
)
def test_a_code_has_its_status_in_http(code, status):
    assert refusal.Refusal(code, "no").http == status


def test_a_status_of_its_own_replaces_that_of_the_code():
    assert refusal.Refusal("INVALID_ARGUMENT", "too large", 413).http == 413


def test_an_error_of_tensorflow_loses_its_place_in_the_graph():
    message = (
        "Graph execution error:\n\nDetected at node 'x' defined at (most recent call last):\n"
        "  File \"x.py\", line 1\nNode: 'x'\nFeature: sequence is missing.\n\t [[{{node x}}]]"
    )
    error = refusal.from_tensorflow(tf.errors.InvalidArgumentError(None, None, message))
    assert error.code == "INVALID_ARGUMENT" and error.message == "Feature: sequence is missing."


def test_an_error_of_nothing_but_a_place_keeps_its_first_line():
    error = refusal.from_tensorflow(tf.errors.AbortedError(None, None, "Node: x\n more"))
    assert error.code == "ABORTED" and error.message == "Node: x"

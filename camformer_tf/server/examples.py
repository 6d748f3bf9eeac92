"""The examples of regress requests: JSON or messages become serialized tf.train.Examples.

Source of rules and messages: util/json_tensor.cc, tensorflow/serving.
"""

from __future__ import annotations

import numpy as np
from tensorflow.core.example import example_pb2

from camformer_tf.server import refusal, tensors

_INT64 = range(-(2**63), 2**63)


def from_json(request: dict, method: str) -> np.ndarray:
    """Returns the examples of a request, each with what its "context" says: bytes (N,).

    Args:
        method: "regress" or "classify".

    Raises:
        refusal.Refused: they are none.
    """
    context = example(request["context"]) if "context" in request else b""
    if "examples" not in request:
        raise refusal.invalid(
            f"JSON Value: {tensors.shown(request)} When method is {method}, key 'examples' is "
            "expected and was not found"
        )
    found = request["examples"]
    if type(found) is not list:
        raise refusal.invalid(
            f"JSON Value: {tensors.shown(found)} Expecting 'examples' value to be an list/array"
        )
    if not found:
        raise refusal.invalid("JSON Value: [] 'examples' value is an empty array")
    return serialized([context + example(value) for value in found])


def serialized(found: list[bytes]) -> np.ndarray:
    array = np.empty(len(found), object)
    array[:] = found
    return array


def example(value: object) -> bytes:
    if type(value) is not dict:
        raise refusal.invalid(
            f"Example must be JSON object but got JSON {tensors.type_name(value)}"
        )
    made = example_pb2.Example()
    for name, content in value.items():
        try:
            feature = made.features.feature[name]
        except (UnicodeEncodeError, ValueError):
            raise refusal.invalid(f"Feature: {name!r} is no name") from None
        for item in content if type(content) is list else [content]:
            _add(item, name, feature)
    return made.SerializeToString()


def _add(item: object, name: str, feature) -> None:
    if type(item) in (bool, int):
        kind, stored = "int64_list", int(item)
        if stored not in _INT64:
            raise refusal.invalid(f"Feature: {name} has an element beyond int64.")
    elif type(item) is float:
        kind, stored = "float_list", item
        if abs(item) > float(np.finfo(np.float32).max) and abs(item) != float("inf"):
            raise refusal.invalid(
                f"Cannot convert JSON value: {tensors.shown(item)} to float without loss of "
                "precision."
            )
    elif type(item) is str or tensors.is_base64(item):
        kind, stored = "bytes_list", _bytes(item)
    else:
        raise refusal.invalid(
            f"Feature: {name} has element with unexpected JSON type: {tensors.type_name(item)}"
        )
    if feature.WhichOneof("kind") not in (None, kind):
        expected = feature.WhichOneof("kind").removesuffix("_list")
        raise refusal.invalid(
            f"Unexpected element type in feature: {name} expecting type: {expected}"
        )
    getattr(feature, kind).value.append(stored)


def _bytes(item: str | dict) -> bytes:
    if type(item) is dict:
        return tensors.from_base64(item)
    try:
        return item.encode()
    except UnicodeEncodeError:
        raise refusal.invalid(
            "JSON Parse error: The surrogate pair in string is invalid."
        ) from None

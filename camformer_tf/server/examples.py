"""Examples of regress requests: JSON or messages become serialized tf.train.Examples.

Source of rules and messages: util/json_tensor.cc, tensorflow/serving.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tensorflow.core.example import example_pb2

from camformer_tf.server import refusal, tensors

_INT64 = range(-(2**63), 2**63)


def from_json(request: dict, method: str) -> np.ndarray:
    """Returns the examples of a request, each merged with its "context".

    Args:
        request: Parsed JSON.
        method: "regress" or "classify".

    Returns:
        Serialized tf.train.Examples, objects (bytes) of shape (N,).

    Raises:
        refusal.Refusal: There are no examples, or they are malformed.
    """
    context = serialize(request["context"]) if "context" in request else b""
    if "examples" not in request:
        raise refusal.invalid(
            f"JSON Value: {tensors.excerpt(request)} When method is {method}, key 'examples' is "
            "expected and was not found"
        )
    examples = request["examples"]
    if type(examples) is not list:
        raise refusal.invalid(
            f"JSON Value: {tensors.excerpt(examples)} Expecting 'examples' value to be an "
            "list/array"
        )
    if not examples:
        raise refusal.invalid("JSON Value: [] 'examples' value is an empty array")
    # Messages merge when their bytes are joined.
    return as_array([context + serialize(example) for example in examples])


def as_array(strings: Sequence[bytes]) -> np.ndarray:
    """Returns byte strings as an array of objects (N,)."""
    array = np.empty(len(strings), object)
    array[:] = strings
    return array


def serialize(features: Any) -> bytes:
    """Returns the tf.train.Example of a JSON object, feature → values.

    Raises:
        refusal.Refusal: It is not an object, or a value does not fit.
    """
    if type(features) is not dict:
        raise refusal.invalid(
            f"Example must be JSON object but got JSON {tensors.type_name(features)}"
        )
    example = example_pb2.Example()
    for name, values in features.items():
        try:
            feature = example.features.feature[name]
        except (UnicodeEncodeError, ValueError):
            raise refusal.invalid(f"Feature: {name!r} is not a valid name") from None
        for value in values if type(values) is list else [values]:
            _append(value, name, feature)
    return example.SerializeToString()


def _append(value: Any, name: str, feature: Any) -> None:
    element: int | float | bytes
    if type(value) in (bool, int):
        kind, element = "int64_list", int(value)
        if element not in _INT64:
            raise refusal.invalid(f"Feature: {name} has an element outside the range of int64.")
    elif type(value) is float:
        kind, element = "float_list", value
        if abs(value) > float(np.finfo(np.float32).max) and abs(value) != float("inf"):
            raise refusal.invalid(
                f"Cannot convert JSON value: {tensors.excerpt(value)} to float without loss of "
                "precision."
            )
    elif type(value) is str or tensors.is_base64(value):
        kind, element = "bytes_list", _bytes(value)
    else:
        raise refusal.invalid(
            f"Feature: {name} has element with unexpected JSON type: {tensors.type_name(value)}"
        )
    if feature.WhichOneof("kind") not in (None, kind):
        expected = feature.WhichOneof("kind").removesuffix("_list")
        raise refusal.invalid(
            f"Unexpected element type in feature: {name} expecting type: {expected}"
        )
    getattr(feature, kind).value.append(element)


def _bytes(value: str | dict) -> bytes:
    if isinstance(value, dict):
        return tensors.from_base64(value)
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise refusal.invalid(
            "JSON Parse error: The surrogate pair in string is invalid."
        ) from None

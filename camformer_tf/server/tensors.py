"""JSON becomes arrays, and arrays become JSON, by the rules of TensorFlow Serving's REST.

Source of rules and messages: util/json_tensor.cc and g3doc/api_rest.md, tensorflow/serving.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from camformer_tf.server import models, refusal

_MAX_EXACT = {"float": 2**24 - 1, "double": 2**53 - 1, "half": 2**11 - 1, "bfloat16": 2**8 - 1}
_TYPES = {str: "String", bool: "Bool", int: "Number", float: "Number", list: "Array",
          dict: "Object", type(None): "Null"}  # fmt: skip
_EXCERPT = 100  # characters of a value in a message

# === JSON → arrays ===


def parse(body: bytes) -> dict:
    """Returns the JSON object of a request.

    Raises:
        refusal.Refusal: It is not a JSON object, or a key occurs twice.
    """
    if not body:
        raise refusal.invalid("JSON Parse error: The document is empty")
    try:
        value = json.loads(body.decode("utf-8-sig"), object_pairs_hook=_object)
    except RecursionError:
        raise refusal.invalid("JSON Parse error: nested too deeply") from None
    except ValueError as error:  # also of decoding, and of numbers with thousands of digits
        raise refusal.invalid(f"JSON Parse error: {error}") from None
    if type(value) is not dict:
        raise refusal.invalid(f"JSON Value: {excerpt(value)} Is not object")
    return value


def signature_name(request: dict) -> str:
    """Returns the name of the signature that a request asks for, or of the default one.

    Raises:
        refusal.Refusal: The name is not a string.
    """
    name = request.get("signature_name", "")
    if type(name) is not str:
        raise refusal.invalid(
            f"JSON Value: {excerpt(request)} not formatted correctly. 'signature_name' key must "
            "be a string value."
        )
    return name or models.DEFAULT


def read(request: dict, inputs: dict[str, models.Tensor]) -> tuple[models.Arrays, bool]:
    """Returns the inputs of a predict request as arrays, and whether they came in rows.

    Args:
        request: Parsed JSON, with rows as "instances" or columns as "inputs".
        inputs: Tensors of the signature.

    Raises:
        refusal.Refusal: They do not fit, in TensorFlow Serving's words.
    """
    if "instances" in request and "inputs" in request:
        raise refusal.invalid(
            f"JSON Value: {excerpt(request)} Not formatted correctly expecting only one of "
            "'inputs' or 'instances' keys to exist "
        )
    if "instances" in request:
        return _from_rows(request["instances"], inputs), True
    if "inputs" in request:
        return _from_columns(request["inputs"], inputs), False
    raise refusal.invalid("Missing 'inputs' or 'instances' key")


def _from_rows(rows: Any, inputs: dict[str, models.Tensor]) -> models.Arrays:
    if type(rows) is not list:
        raise refusal.invalid(
            f"JSON Value: {excerpt(rows)} Excepting 'instances' to be an list/array"
        )
    if not rows:
        raise refusal.invalid("JSON Value: [] No values in 'instances' array")
    are_objects = _is_object(rows[0])
    if not are_objects and len(inputs) > 1:
        raise refusal.invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    for i, row in enumerate(rows):
        if _is_object(row) != are_objects:
            mismatch = "object but got list" if are_objects else "value/list but got object"
            raise refusal.invalid(f"Expecting {mismatch} at item {i} of input list")
        if are_objects and row.keys() != inputs.keys():
            raise refusal.invalid(
                f"Failed to process element: {i} of 'instances' list. JSON object: {excerpt(row)} "
                f"keys must be equal to: {','.join(inputs)}"
            )
    if not are_objects:
        ((name, tensor),) = inputs.items()
        return {name: array(rows, tensor)}
    return {name: array([row[name] for row in rows], tensor) for name, tensor in inputs.items()}


def _from_columns(columns: Any, inputs: dict[str, models.Tensor]) -> models.Arrays:
    if not _is_object(columns):
        if len(inputs) > 1:
            raise refusal.invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        return {name: array(columns, tensor) for name, tensor in inputs.items()}
    for name in inputs:
        if name not in columns:
            raise refusal.invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: array(columns[name], tensor) for name, tensor in inputs.items()}


def array(value: Any, tensor: models.Tensor) -> np.ndarray:
    """Returns a value or nested list as an array of the tensor's type.

    Raises:
        refusal.Refusal: A list differs in size from its neighbours, or a value has another type.
    """
    shape, first = [], value  # the first items tell the shape; the others are checked below
    while type(first) is list:
        shape.append(len(first))
        first = first[0] if first else None
    leaves: list[Any] = [value]
    for level, size in enumerate(shape):
        for item in leaves:
            if type(item) is not list:
                raise refusal.invalid(
                    f"JSON Value: {excerpt(item)} found at incorrect level: {level + 1} in the "
                    f"JSON DOM. Expected at level: {len(shape)}"
                )
            if len(item) != size:
                raise refusal.invalid(
                    f"Encountered list at unexpected size: {len(item)} at level: {level} expected "
                    f"size: {size}"
                )
        leaves = list(itertools.chain.from_iterable(leaves))
    if any(type(leaf) is list for leaf in leaves):
        raise refusal.invalid(
            f"Encountered list at unexpected level: {len(shape)} expected < {len(shape)}"
        )
    # Leaves in row-major order, (N,), then in their shape.
    convert = _strings if tensor.dtype == object else _numbers
    return convert(leaves, tensor).reshape(shape)


def _strings(leaves: list, tensor: models.Tensor) -> np.ndarray:
    strings = np.empty(len(leaves), object)  # (N,); np.array would make fixed-width bytes
    try:
        strings[:] = [leaf.encode() if type(leaf) is str else _bytes(leaf) for leaf in leaves]
    except UnicodeEncodeError:
        raise refusal.invalid(
            "JSON Parse error: The surrogate pair in string is invalid."
        ) from None
    return strings


def _bytes(leaf: Any) -> bytes:
    if type(leaf) is not dict:
        raise _wrong_type(leaf, "string")
    if not is_base64(leaf):
        raise refusal.invalid(
            f"JSON Value: {excerpt(leaf)} not formatted correctly for base64 data"
        )
    return from_base64(leaf)


def _numbers(leaves: list, tensor: models.Tensor) -> np.ndarray:
    exact = _MAX_EXACT.get(tensor.kind)  # None for integers
    types = {bool} if tensor.kind == "bool" else {int, float} if exact else {int}
    if not set(map(type, leaves)) <= types:
        wrong = next(leaf for leaf in leaves if type(leaf) not in types)
        raise _wrong_type(wrong, tensor.kind)
    if exact:
        finite = float(np.finfo(np.float32).max if tensor.kind == "float" else np.inf)
        for leaf in leaves:
            lossy = abs(leaf) > (exact if type(leaf) is int else finite)
            if lossy and leaf not in (float("inf"), float("-inf")):
                raise refusal.invalid(
                    f"Cannot convert JSON value: {excerpt(leaf)} to {tensor.kind} without loss of "
                    "precision."
                )
    try:
        return np.array(leaves, tensor.dtype)  # (N,)
    except (OverflowError, TypeError, ValueError):
        wrong = max(leaves, key=abs, default=None)
        raise _wrong_type(wrong, tensor.kind) from None


def is_base64(value: Any) -> bool:
    """Returns whether a value is {"b64": "…"}, which stands for bytes."""
    return type(value) is dict and value.keys() == {"b64"} and type(value["b64"]) is str


def from_base64(value: dict) -> bytes:
    """Returns the bytes that {"b64": "…"} stands for.

    Raises:
        refusal.Refusal: The string is not base64.
    """
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError):
        raise refusal.invalid("Unable to base64 decode") from None


def type_name(value: Any) -> str:
    """Returns the type of a value as TensorFlow Serving names it; true and false as they are."""
    return str(value) if type(value) is bool else _TYPES[type(value)]


def excerpt(value: Any) -> str:
    """Returns the start of a value as JSON, for messages."""
    text = ""
    for piece in json.JSONEncoder().iterencode(value):
        text += piece
        if len(text) > _EXCERPT:
            return text[:_EXCERPT] + "..."
    return text


def _is_object(value: Any) -> bool:
    return type(value) is dict and not is_base64(value)


def _wrong_type(value: Any, kind: str) -> refusal.Refusal:
    return refusal.invalid(
        f"JSON Value: {excerpt(value)} Type: {type_name(value)} is not of expected type: {kind}"
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        keys = [key for key, _ in pairs]
        duplicate = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {duplicate[:_EXCERPT]!r} occurs twice")
    return mapping


# === Arrays → JSON ===


def write_rows(outputs: models.Arrays) -> bytes:
    """Returns {"predictions": [...]}: values if there is one output, objects if there are more.

    Raises:
        refusal.Refusal: The outputs have no rows, or not the same number of them.
    """
    for name, values in outputs.items():
        if not values.ndim:
            raise refusal.invalid(f"Tensor name: {name} has no shape information ")
    if len({len(values) for values in outputs.values()}) > 1:
        raise refusal.invalid(
            "Outputs have inconsistent batch sizes; send 'inputs' in place of 'instances'."
        )
    columns = [_items(name, values) for name, values in outputs.items()]  # each of N strings
    rows: Iterable[str] = columns[0]
    if len(columns) > 1:
        names = [json.dumps(name).replace("%", "%%") for name in outputs]
        template = "{" + ", ".join(f"{name}: %s" for name in names) + "}"
        rows = map(template.__mod__, zip(*columns, strict=True))
    return f'{{"predictions": [{", ".join(rows)}]}}'.encode()


def write_columns(outputs: models.Arrays) -> bytes:
    """Returns {"outputs": ...}: an array if there is one output, an object if there are more."""
    columns = {name: _json(name, values) for name, values in outputs.items()}
    if len(columns) == 1:
        (content,) = columns.values()
    else:
        content = "{" + ", ".join(f"{json.dumps(k)}: {v}" for k, v in columns.items()) + "}"
    return f'{{"outputs": {content}}}'.encode()


def write_results(values: np.ndarray) -> bytes:
    """Returns {"results": [...]} of float32 (N,)."""
    return f'{{"results": [{", ".join(_floats(values))}]}}'.encode()


def _json(name: str, values: np.ndarray) -> str:
    if not values.ndim:
        return _items(name, values[None])[0]
    return "[" + ", ".join(_items(name, values)) + "]"


def _items(name: str, values: np.ndarray) -> list[str]:
    """Returns the JSON of each item along the first axis."""
    if values.ndim > 1:  # (N, …)
        return [_json(name, row) for row in values]
    if values.dtype == object:
        return [_string(name, value) for value in values]
    if values.dtype == bool:
        return ["true" if value else "false" for value in values.tolist()]
    if values.dtype.kind in "iu":
        return [str(value) for value in values.tolist()]
    return _floats(values)


def _string(name: str, value: bytes) -> str:
    if name.endswith("_bytes"):
        return json.dumps({"b64": base64.b64encode(value).decode()})
    return json.dumps(value.decode("utf-8", "replace"), ensure_ascii=False)


def _floats(values: np.ndarray) -> list[str]:
    """Returns numbers as JSON, with six digits or as many as it takes to read the same number.

    Whole numbers end in .0. NaN and Infinity are bare words, which strict JSON does not allow.
    """
    if values.dtype != np.float64:
        values = values.astype(np.float32)
    digits = 17 if values.dtype == np.float64 else 9
    numbers = values.tolist()
    short = ["%.6g" % number for number in numbers]  # noqa: UP031  (twice as fast)
    is_exact = np.array(short, np.float64).astype(values.dtype) == values  # bool (N,)
    return [
        _decimal(text if exact else f"{number:.{digits}g}")
        for text, exact, number in zip(short, is_exact.tolist(), numbers, strict=True)
    ]


def _decimal(text: str) -> str:
    if text[-1] in "nf":
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[text]
    return text if "." in text or "e" in text else text + ".0"

"""A version of an export, loaded: its signatures as functions of arrays."""

from __future__ import annotations

import dataclasses
import json
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.python.saved_model import loader_impl  # the public one warns that it is old

from camformer_tf import exportdir
from camformer_tf.server import refusal

DEFAULT = "serving_default"
REGRESS = "tensorflow/serving/regress"
CLASSIFY = "tensorflow/serving/classify"
_INITIAL = "__saved_model_init_op"  # listed among the signatures, and none

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Tensor:
    """What an input or output holds.

    Args:
        dtype: strings are objects (bytes).
        kind: the type as TensorFlow Serving names it ("float", "string").
        shape: None for a size that may be any; None for a rank that may be any.
    """

    dtype: np.dtype
    kind: str
    shape: tuple[int | None, ...] | None

    @property
    def in_rows(self) -> bool:
        return bool(self.shape) and self.shape[0] is None

    def holds(self, array: np.ndarray) -> bool:
        if self.shape is None:
            return True
        sizes = zip(self.shape, array.shape, strict=False)
        return len(self.shape) == array.ndim and all(known in (None, n) for known, n in sizes)


@dataclasses.dataclass(frozen=True, eq=False)
class Signature:
    """A function of a SavedModel.

    Args:
        method: the API that it is meant for, such as `REGRESS`.
        inputs, outputs: by name, in the order of their names.
        call: takes and returns arrays; raises `refusal.Refused`.
        definition: tensorflow.SignatureDef.
    """

    name: str
    method: str
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    call: Callable[[Arrays], Arrays]
    definition: object

    @property
    def in_rows(self) -> bool:
        """Whether rows of several requests may share a call."""
        return all(tensor.in_rows for tensor in (*self.inputs.values(), *self.outputs.values()))

    def rows(self, inputs: Arrays) -> int:
        """Returns how many rows a request's inputs have; 1 if they have no rows.

        Raises:
            refusal.Refused: inputs that the signature does not take.
        """
        if inputs.keys() != self.inputs.keys():
            raise refusal.invalid(
                f"input size does not match signature: {len(inputs)}!={len(self.inputs)} "
                f"len({{{','.join(sorted(inputs))}}}) != len({{{','.join(self.inputs)}}})."
            )
        for name, tensor in self.inputs.items():
            if not tensor.holds(inputs[name]):
                raise refusal.invalid(
                    f"Input {name}: expected shape {_shown(tensor.shape)} but got: "
                    f"{_shown(inputs[name].shape)}"
                )
        if not self.in_rows:
            return 1
        counts = {len(array) for array in inputs.values()}
        if len(counts) > 1:
            raise refusal.invalid("Inputs must have the same 0th-dimension size.")
        return counts.pop()

    def none(self) -> Arrays:
        """Returns the answer to no rows."""
        return {
            name: np.empty((0, *(size or 0 for size in tensor.shape[1:])), tensor.dtype)
            for name, tensor in self.outputs.items()
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Version:
    """A loaded version; its memory is free when nothing refers to it any more."""

    number: int
    signatures: dict[str, Signature]
    card: dict | None

    def signature(self, name: str) -> Signature:
        if name not in self.signatures:
            raise refusal.invalid(f'Serving signature name: "{name}" not found in signature def')
        return self.signatures[name]

    def method(self, name: str, method: str) -> Signature:
        """Returns a signature that is meant for an API: regress or classify."""
        if name not in self.signatures:
            raise refusal.invalid(f"No signature was found with the name: {name}")
        found = self.signatures[name]
        if found.method != method:
            what = {REGRESS: "regression", CLASSIFY: "classification"}[method]
            raise refusal.invalid(
                f"Expected {what} signature method_name to be {method}. Was: {found.method}"
            )
        return found


def load(folder: Path, warm_up_rows: tuple[int, ...]) -> Version:
    """Loads OUT_DIR/N and runs each signature once for each number of rows.

    In a session, as TensorFlow Serving does, not as an object: closing it gives all memory back.

    Raises:
        Exception: a broken SavedModel, of whatever kind TensorFlow raises.
    """
    session = tf.compat.v1.Session(graph=tf.Graph())
    try:
        loader = loader_impl.SavedModelLoader(str(folder))
        definitions = loader.load(session, [tf.saved_model.SERVING]).signature_def
        signatures = {
            name: _signature(session, name, definitions[name])
            for name in sorted(definitions)
            if name != _INITIAL
        }
        card = folder / exportdir.MODEL_CARD
        known = json.loads(card.read_text(encoding="utf-8")) if card.is_file() else None
        for signature in signatures.values():
            for rows in warm_up_rows:
                _warm_up(signature, rows)
    except BaseException:
        session.close()
        raise
    version = Version(int(folder.name), signatures, known)
    weakref.finalize(version, session.close)
    return version


def _signature(session, name: str, definition) -> Signature:
    inputs = {key: definition.inputs[key] for key in sorted(definition.inputs)}
    outputs = {key: definition.outputs[key] for key in sorted(definition.outputs)}
    run = session.make_callable(
        [info.name for info in outputs.values()], feed_list=[info.name for info in inputs.values()]
    )

    def call(arrays: Arrays) -> Arrays:
        try:
            return dict(zip(outputs, run(*(arrays[key] for key in inputs)), strict=True))
        except tf.errors.OpError as error:
            raise refusal.from_tensorflow(error) from error

    return Signature(
        name,
        definition.method_name,
        {key: _tensor(info) for key, info in inputs.items()},
        {key: _tensor(info) for key, info in outputs.items()},
        call,
        definition,
    )


def _tensor(info) -> Tensor:
    shape = info.tensor_shape
    sizes = [None if dim.size < 0 else dim.size for dim in shape.dim]
    return Tensor(
        np.dtype(tf.as_dtype(info.dtype).as_numpy_dtype),
        types_pb2.DataType.Name(info.dtype).removeprefix("DT_").lower(),
        None if shape.unknown_rank else tuple(sizes),
    )


def _warm_up(signature: Signature, rows: int) -> None:
    """Calls a signature with empty strings and zeros."""
    row = tf.train.Example()
    row.features.feature["sequence"].bytes_list.value.append(b"")
    string = row.SerializeToString() if signature.method == REGRESS else b""
    arrays = {}
    for name, tensor in signature.inputs.items():
        shape = [size or 1 for size in tensor.shape or ()]
        if tensor.in_rows:
            shape[0] = rows
        filler = string if tensor.dtype == object else 0
        arrays[name] = np.full(shape, filler, tensor.dtype)
    try:
        signature.call(arrays)
    except refusal.Refused as error:
        if error.code != "INVALID_ARGUMENT":  # it runs, and asks for other inputs
            raise


def _shown(shape: tuple) -> str:
    return "[" + ",".join("?" if size is None else str(size) for size in shape) + "]"

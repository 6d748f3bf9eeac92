"""A loaded version of an export: its signatures as functions of arrays."""

from __future__ import annotations

import dataclasses
import json
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.python.saved_model import loader_impl  # the public one warns that it is old

from camformer_tf import exportdir, progress
from camformer_tf.server import refusal

DEFAULT = "serving_default"
REGRESS = "tensorflow/serving/regress"
CLASSIFY = "tensorflow/serving/classify"
_INITIAL = "__saved_model_init_op"  # listed among the signatures, but not one of them

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Tensor:
    """Type and shape of an input or output.

    Args:
        dtype: Type in NumPy; strings are objects (bytes).
        kind: Type as TensorFlow Serving names it ("float", "string").
        shape: Size of each axis, None where it may vary; None for a tensor of any rank.
    """

    dtype: np.dtype
    kind: str
    shape: tuple[int | None, ...] | None

    @property
    def has_rows(self) -> bool:
        """Whether the first axis counts rows, of which there may be any number."""
        return self.shape is not None and self.shape[:1] == (None,)

    def accepts(self, array: np.ndarray) -> bool:
        """Returns whether an array has this shape."""
        if self.shape is None:
            return True
        sizes = zip(self.shape, array.shape, strict=False)
        return len(self.shape) == array.ndim and all(size in (None, n) for size, n in sizes)


@dataclasses.dataclass(frozen=True, eq=False)
class Signature:
    """A function of a SavedModel.

    Args:
        name: Its name in the SavedModel.
        method: API that it is meant for, such as `REGRESS`.
        inputs: Name → tensor, in the order of the names.
        outputs: Name → tensor, in the order of the names.
        call: Takes and returns arrays; raises `refusal.Refusal`.
        definition: The tensorflow.SignatureDef.
    """

    name: str
    method: str
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    call: Callable[[Arrays], Arrays]
    definition: Any

    @property
    def has_rows(self) -> bool:
        """Whether rows of several requests may share a call."""
        return all(tensor.has_rows for tensor in (*self.inputs.values(), *self.outputs.values()))

    def count_rows(self, inputs: Arrays) -> int:
        """Returns the number of rows of a request's inputs; 1 if the signature has no rows.

        Raises:
            refusal.Refusal: The signature does not take such inputs.
        """
        # Source of the messages: predict_util.cc and batching_session.cc, tensorflow/serving.
        if inputs.keys() != self.inputs.keys():
            raise refusal.invalid(
                f"input size does not match signature: {len(inputs)}!={len(self.inputs)} "
                f"len({{{','.join(sorted(inputs))}}}) != len({{{','.join(self.inputs)}}})."
            )
        for name, tensor in self.inputs.items():
            if not tensor.accepts(inputs[name]):
                raise refusal.invalid(
                    f"Input {name}: expected shape {_format_shape(tensor.shape or ())} but got: "
                    f"{_format_shape(inputs[name].shape)}"
                )
        if not self.has_rows:
            return 1
        counts = {len(array) for array in inputs.values()}  # arrays (rows, …)
        if len(counts) > 1:
            raise refusal.invalid("Inputs must have the same 0th-dimension size.")
        return counts.pop()

    def empty_outputs(self) -> Arrays:
        """Returns the outputs for inputs of no rows: arrays (0, …)."""
        return {
            name: np.empty([0, *(size or 0 for size in (tensor.shape or ())[1:])], tensor.dtype)
            for name, tensor in self.outputs.items()
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Version:
    """A loaded version; its memory is freed when nothing refers to it any more."""

    number: int
    signatures: dict[str, Signature]
    card: dict | None

    def signature(self, name: str) -> Signature:
        """Returns a signature by its name.

        Raises:
            refusal.Refusal: There is none of that name.
        """
        if name not in self.signatures:
            raise refusal.invalid(f'Serving signature name: "{name}" not found in signature def')
        return self.signatures[name]

    def signature_for(self, method: str, name: str) -> Signature:
        """Returns the signature `name`, which must be meant for an API: regress or classify.

        Raises:
            refusal.Refusal: There is none of that name, or it is meant for another API.
        """
        # Source of the messages: regressor.cc and classifier.cc, tensorflow/serving.
        if name not in self.signatures:
            raise refusal.invalid(f"No signature was found with the name: {name}")
        signature = self.signatures[name]
        if signature.method != method:
            task = {REGRESS: "regression", CLASSIFY: "classification"}[method]
            raise refusal.invalid(
                f"Expected {task} signature method_name to be {method}. Was: {signature.method}"
            )
        return signature


def load(folder: Path, warm_up_rows: Sequence[int]) -> Version:
    """Loads OUT_DIR/N and runs each signature once for each number of rows.

    It is loaded into a session, as TensorFlow Serving does, and not as an object, because closing
    the session frees all memory.

    Args:
        folder: Folder of a version, named by its number.
        warm_up_rows: Numbers of rows to run each signature with.

    Raises:
        Exception: The SavedModel is broken; of the type that TensorFlow raises.
    """
    session = tf.compat.v1.Session(graph=tf.Graph())
    try:
        loader = loader_impl.SavedModelLoader(str(folder))
        with progress.quiet_tensorflow():
            definitions = loader.load(session, [tf.saved_model.SERVING]).signature_def
        signatures = {
            name: _signature(session, name, definitions[name])
            for name in sorted(definitions)
            if name != _INITIAL
        }
        path = folder / exportdir.MODEL_CARD
        card = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        for signature in signatures.values():
            for rows in warm_up_rows:
                _warm_up(signature, rows)
    except BaseException:
        session.close()
        raise
    version = Version(int(folder.name), signatures, card)
    weakref.finalize(version, session.close)  # when the last request of it is answered
    return version


def _signature(session: Any, name: str, definition: Any) -> Signature:
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


def _tensor(info: Any) -> Tensor:
    shape = info.tensor_shape
    sizes = [None if dim.size < 0 else dim.size for dim in shape.dim]
    return Tensor(
        np.dtype(tf.as_dtype(info.dtype).as_numpy_dtype),
        types_pb2.DataType.Name(info.dtype).removeprefix("DT_").lower(),
        None if shape.unknown_rank else tuple(sizes),
    )


def _warm_up(signature: Signature, rows: int) -> None:
    """Calls a signature with empty strings and zeros."""
    example = tf.train.Example()
    example.features.feature["sequence"].bytes_list.value.append(b"")
    string = example.SerializeToString() if signature.method == REGRESS else b""
    arrays = {}
    for name, tensor in signature.inputs.items():
        shape = [size or 1 for size in tensor.shape or ()]
        if tensor.has_rows:
            shape[0] = rows
        filler = string if tensor.dtype == object else 0
        arrays[name] = np.full(shape, filler, tensor.dtype)  # (rows, …)
    try:
        signature.call(arrays)
    except refusal.Refusal as error:
        if error.code != "INVALID_ARGUMENT":  # the model runs, it only expects other values
            raise


def _format_shape(shape: Sequence[int | None]) -> str:
    return "[" + ",".join("?" if size is None else str(size) for size in shape) + "]"

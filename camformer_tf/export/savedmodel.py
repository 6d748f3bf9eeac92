"""The SavedModel of an export: one plain graph without functions, as TensorFlow 1 wrote it.

Such a graph has only old operations, names the methods of its signatures, and is the same bytes
whenever the weights are the same.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from camformer_tf import progress
from camformer_tf.data import sequence
from camformer_tf.export import graph

v1 = tf.compat.v1

_PREDICT = "tensorflow/serving/predict"
_REGRESS = "tensorflow/serving/regress"


def write(folder: Path, model: graph.ServedModel) -> None:
    """Writes the SavedModel with the signatures `serving_default`, `onehot` and `regress`.

    The graph is float32 and is placed on no device.

    Args:
        folder: an empty folder.
        model: what the signatures compute.
    """
    weights = [
        [keras.ops.convert_to_numpy(variable) for variable in network.variables]
        for network in model.networks
    ]
    with tf.Graph().as_default():
        members = [
            _variables(network, f"member_{i}") for i, network in enumerate(model.networks, 1)
        ]
        values = [[variable.read_value() for variable in variables] for variables in members]
        tables, initializer = _tables(model, values)
        signatures = _signatures(model, values, tables)
        with v1.Session(config=v1.ConfigProto(device_count={"GPU": 0})) as session:
            for variables, arrays in zip(members, weights, strict=True):
                for variable, array in zip(variables, arrays, strict=True):
                    # Feeding the initial value adds no node to the graph, as `assign` would.
                    session.run(variable.initializer, {variable.initializer.inputs[1]: array})
            builder = v1.saved_model.Builder(str(folder))
            with progress.quiet_tensorflow():
                builder.add_meta_graph_and_variables(
                    session,
                    [tf.saved_model.SERVING],
                    signatures,
                    main_op=initializer,
                    strip_default_attrs=True,
                )
                builder.save()


def _variables(network: keras.Model, scope: str) -> list[tf.Variable]:
    return [
        _variable(f"{scope}/{variable.path}", variable.shape, v1.GraphKeys.GLOBAL_VARIABLES)
        for variable in network.variables
    ]


def _tables(
    model: graph.ServedModel, values: Sequence[graph.Values]
) -> tuple[list[tf.Variable | None], tf.Operation | None]:
    """Returns the members' tables, and the operation that computes them when the model is loaded.

    They are local variables, which are not saved.
    """
    tables: list[tf.Variable | None] = []
    assignments = []
    for i, (parts, member_values) in enumerate(zip(model.lookups, values, strict=True), 1):
        table = None
        if parts:
            rows = parts.table(member_values)  # (k-mers k2, F2)
            table = _variable(f"member_{i}/table", rows.shape, v1.GraphKeys.LOCAL_VARIABLES)
            assignments.append(table.assign(rows))
        tables.append(table)
    return tables, tf.group(*assignments) if assignments else None


def _variable(name: str, shape: tf.TensorShape, collection: str) -> tf.Variable:
    zeros = v1.zeros_initializer()
    return v1.get_variable(
        name, shape, tf.float32, zeros, collections=[collection], use_resource=True
    )


def _signatures(
    model: graph.ServedModel, values: Sequence[graph.Values], tables: Sequence[tf.Variable | None]
) -> dict[str, meta_graph_pb2.SignatureDef]:
    forwards = graph.channel_forwards(model, values), graph.letter_forwards(model, values, tables)
    answer_channels, answer_letters = (
        functools.partial(graph.answer, members, model.calibration) for members in forwards
    )
    shape = [None, model.rule.length, sequence.channels(model.encoding)]
    return {
        "serving_default": _signature(
            "sequence",
            tf.string,
            [None],
            lambda strings: graph.answer_sequences(answer_letters, model, strings),
        ),
        "onehot": _signature(
            "onehot",
            tf.float32,
            shape,
            lambda onehot: graph.answer_any_count(answer_channels, onehot),
        ),
        "regress": _signature(
            "inputs",
            tf.string,
            [None],
            lambda examples: graph.answer_examples(answer_letters, model, examples),
            _REGRESS,
        ),
    }


def _signature(
    name: str,
    dtype: tf.DType,
    shape: list[int | None],
    function: graph.Answer,
    method: str = _PREDICT,
) -> meta_graph_pb2.SignatureDef:
    placeholder = v1.placeholder(dtype, shape, name)
    return meta_graph_pb2.SignatureDef(
        inputs={name: _info(placeholder)},
        outputs={key: _info(output) for key, output in function(placeholder).items()},
        method_name=method,
    )


def _info(tensor: tf.Tensor) -> meta_graph_pb2.TensorInfo:
    shape = tensor.shape.as_proto()
    return meta_graph_pb2.TensorInfo(
        name=tensor.name, dtype=tensor.dtype.as_datatype_enum, tensor_shape=shape
    )

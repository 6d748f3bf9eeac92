"""The SavedModel of an export: one plain graph without functions, as TensorFlow 1 wrote them.

So it has only old operations, names its signatures' methods, and is the same bytes whenever it is
made of the same weights.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from camformer_tf.data import sequence
from camformer_tf.export import graph

v1 = tf.compat.v1

_PREDICT = "tensorflow/serving/predict"
_REGRESS = "tensorflow/serving/regress"


def write(folder: Path, served: graph.Served) -> None:
    """Writes the SavedModel with the signatures `serving_default`, `onehot` and `regress` into an
    empty folder. The graph is float32 and for no device.
    """
    values = [
        [keras.ops.convert_to_numpy(v) for v in network.variables] for network in served.networks
    ]
    with tf.Graph().as_default():
        held = [_variables(network, f"member_{i}") for i, network in enumerate(served.networks, 1)]
        read = [[variable.read_value() for variable in variables] for variables in held]
        tables, start = _tables(served, read)
        signatures = _signatures(served, read, tables)
        with v1.Session(config=v1.ConfigProto(device_count={"GPU": 0})) as session:
            for variables, arrays in zip(held, values, strict=True):
                for variable, array in zip(variables, arrays, strict=True):
                    session.run(variable.initializer, {variable.initializer.inputs[1]: array})
            builder = v1.saved_model.Builder(str(folder))
            builder.add_meta_graph_and_variables(
                session,
                [tf.saved_model.SERVING],
                signatures,
                main_op=start,
                strip_default_attrs=True,
            )
            builder.save()


def _variables(network: keras.Model, scope: str) -> list[tf.Variable]:
    return [
        _variable(f"{scope}/{variable.path}", variable.shape, v1.GraphKeys.GLOBAL_VARIABLES)
        for variable in network.variables
    ]


def _tables(
    served: graph.Served, values: list[graph.Values]
) -> tuple[list[tf.Variable | None], tf.Operation | None]:
    """Returns the members' tables, which are not saved, and what computes them at loading."""
    tables, starts = [], []
    for i, (parts, own) in enumerate(zip(served.lookups, values, strict=True), 1):
        table = None
        if parts:
            rows = parts.table(own)
            table = _variable(f"member_{i}/table", rows.shape, v1.GraphKeys.LOCAL_VARIABLES)
            starts.append(table.assign(rows))
        tables.append(table)
    return tables, tf.group(*starts) if starts else None


def _variable(name: str, shape: tf.TensorShape, collection: str) -> tf.Variable:
    start = v1.zeros_initializer()
    return v1.get_variable(
        name, shape, tf.float32, start, collections=[collection], use_resource=True
    )


def _signatures(
    served: graph.Served, values: list[graph.Values], tables: list[tf.Variable | None]
) -> dict[str, object]:
    both = graph.of_channels(served, values), graph.of_letters(served, values, tables)
    by_channels, by_letters = (
        functools.partial(graph.answer, forwards, served.known) for forwards in both
    )
    shape = [None, served.rule.length, sequence.channels(served.encoding)]
    return {
        "serving_default": _signature(
            "sequence", tf.string, [None], lambda x: graph.of_sequences(by_letters, served, x)
        ),
        "onehot": _signature(
            "onehot", tf.float32, shape, lambda x: graph.of_any_number(by_channels, x)
        ),
        "regress": _signature(
            "inputs",
            tf.string,
            [None],
            lambda x: graph.of_examples(by_letters, served, x),
            _REGRESS,
        ),
    }


def _signature(
    name: str,
    dtype: tf.DType,
    shape: list[int | None],
    function: Callable[[tf.Tensor], dict[str, tf.Tensor]],
    method: str = _PREDICT,
) -> meta_graph_pb2.SignatureDef:
    given = v1.placeholder(dtype, shape, name)
    return meta_graph_pb2.SignatureDef(
        inputs={name: _info(given)},
        outputs={key: _info(found) for key, found in function(given).items()},
        method_name=method,
    )


def _info(tensor: tf.Tensor) -> meta_graph_pb2.TensorInfo:
    shape = tensor.shape.as_proto()
    return meta_graph_pb2.TensorInfo(
        name=tensor.name, dtype=tensor.dtype.as_datatype_enum, tensor_shape=shape
    )

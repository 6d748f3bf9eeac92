"""An export for Keras, ONNX Runtime or LiteRT: channels in, expressions out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from camformer_tf import errors, recipe
from camformer_tf.data import sequence
from camformer_tf.export import graph
from camformer_tf.model import stock

FILES = {"keras": "model.keras", "onnx": "model.onnx", "litert": "model.tflite"}
_OPSET = 17  # of 2022

Runtime = Callable[..., dict[str, np.ndarray]]  # onehot: float32 (N, L, C) → outputs, (N,) each


def write(path: Path, model: graph.ServedModel, kind: str) -> Runtime:
    """Writes a model as a file of ONNX or LiteRT, and returns it as its own runtime reads it.

    The input is `onehot`, float32 (N, L, C); the outputs are those of the signature `onehot`.

    Args:
        path: the file to write.
        model: what it computes.
        kind: onnx or litert.

    Raises:
        errors.UserError: the extra of that name is not installed.
    """
    shape = [None, model.rule.length, sequence.channels(model.encoding)]
    spec = tf.TensorSpec(shape, tf.float32, "onehot")
    weights = [
        [keras.ops.convert_to_numpy(variable) for variable in network.variables]
        for network in model.networks
    ]

    @tf.function(input_signature=[spec], autograph=False)
    def answer(onehot: tf.Tensor) -> dict[str, tf.Tensor]:
        # The weights are constants of the graph: a file of either kind has no variables.
        forwards = graph.channel_forwards(model, tf.nest.map_structure(tf.constant, weights))
        return graph.answer(forwards, model.calibration, onehot)

    try:
        return {"onnx": _write_onnx, "litert": _write_litert}[kind](path, answer)
    except ImportError as error:
        raise errors.UserError(
            f'--format {kind} needs {error.name}: pip install "camformer-tf[{kind}]".'
        ) from error


def write_keras(path: Path, network: keras.Model, settings: recipe.Recipe) -> Runtime:
    """Writes a network in stock Keras layers, and returns it as Keras reads it.

    The file has channels (N, L, C) as input and the expression (N, 1) as output.

    Args:
        path: the file to write.
        network: as it was trained.
        settings: its recipe.
    """
    stock.save(network, path, settings)
    stored_network = keras.models.load_model(path, compile=False)

    def run(onehot: np.ndarray) -> dict[str, np.ndarray]:
        with tf.device("CPU:0"):  # as the golden predictions are computed
            expression = stored_network(onehot, training=False)  # (N, 1)
        return {"expression": keras.ops.convert_to_numpy(expression)[:, 0]}

    return run


def _write_onnx(path: Path, answer: tf.types.experimental.GenericFunction) -> Runtime:
    import onnxruntime
    import tf2onnx

    model, _ = tf2onnx.convert.from_function(
        answer, input_signature=answer.input_signature, opset=_OPSET
    )
    path.write_bytes(model.SerializeToString(deterministic=True))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda onehot: dict(zip(names, session.run(names, {"onehot": onehot}), strict=True))


def _write_litert(path: Path, answer: tf.types.experimental.GenericFunction) -> Runtime:
    from ai_edge_litert import interpreter

    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [answer.get_concrete_function()], tf.Module()
    )
    path.write_bytes(converter.convert())
    runner = interpreter.Interpreter(model_path=str(path)).get_signature_runner()
    return lambda onehot: runner(onehot=onehot)

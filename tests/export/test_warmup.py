import numpy as np
import pytest
import tensorflow as tf

from camformer_tf import exportdir
from camformer_tf.export import export


def test_warm_up_requests_are_tensorflow_serving_messages_that_the_export_answers(
    keras_path, tmp_path
):
    apis = pytest.importorskip("tensorflow_serving.apis", reason="tensorflow-serving-api is absent")
    from tensorflow_serving.apis import prediction_log_pb2

    assert apis
    folder = export.export([keras_path], tmp_path / "e")
    signatures = tf.saved_model.load(str(folder)).signatures
    sizes = []
    for record in tf.data.TFRecordDataset(str(folder / exportdir.WARM_UP)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert log.SerializeToString() == record  # no field that the messages do not have
        kind = log.WhichOneof("log_type")
        request = getattr(log, kind).request
        assert request.model_spec.name == "camformer"
        signature = signatures[request.model_spec.signature_name]
        if kind == "predict_log":
            arrays = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            answer = signature(**{name: tf.constant(value) for name, value in arrays.items()})
            values = answer["expression"].numpy()
        else:
            examples = request.input.example_list.examples
            serialized_examples = [example.SerializeToString() for example in examples]
            values = signature(inputs=tf.constant(serialized_examples))["outputs"].numpy()
        assert np.isfinite(values).all()
        sizes.append((kind, len(values)))
    assert sizes == [
        ("predict_log", 1), ("predict_log", 8), ("predict_log", 64), ("regress_log", 1)
    ]  # fmt: skip

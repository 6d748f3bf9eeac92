"""Predicts a sequence by a SavedModel, where neither camformer_tf nor Keras can be imported."""

import sys

for name in ("camformer_tf", "keras"):
    sys.modules[name] = None

import tensorflow as tf  # noqa: E402

signature = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
print(float(signature(sequence=tf.constant([sys.argv[2]]))["expression"][0]))

"""Predicts channels by a .keras file where camformer_tf cannot be imported; prints a JSON list."""

import json
import sys

sys.modules["camformer_tf"] = None

import keras  # noqa: E402
import numpy as np  # noqa: E402

network = keras.models.load_model(sys.argv[1])
print(json.dumps(network.predict(np.load(sys.argv[2]), verbose=0)[:, 0].tolist()))

"""Trains smoke after other work of TensorFlow and Keras: RECORDS FOLDER [OVERRIDES…].

Prints which global settings of Keras and TensorFlow the trainings changed.
"""

import random
import signal
import sys

import keras
import numpy as np
import tensorflow as tf

import camformer_tf as cf

records, folder, *overrides = sys.argv[1:]


def settings() -> dict[str, object]:
    return {
        "policy": keras.config.dtype_policy().name,
        "floatx": keras.config.floatx(),
        "strategy": type(tf.distribute.get_strategy()).__name__,
        "eager": tf.executing_eagerly(),
        "numpy": np.random.get_state()[1].tobytes(),
        "python": random.getstate(),
        "sigint": signal.getsignal(signal.SIGINT),
        "threads": tf.config.threading.get_inter_op_parallelism_threads(),
    }


keras.mixed_precision.set_global_policy("mixed_bfloat16")
keras.utils.set_random_seed(7)
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dense(1)])
model.compile("adam", "mse")
model.fit(np.ones((8, 3)), np.ones(8), verbose=0)
state = settings()
for name in ("first", "second"):
    cf.fit("smoke", records, f"{folder}/{name}", overrides=overrides, precision="float32")
print([name for name, value in settings().items() if value != state[name]])

"""Loads a .keras file with plain Keras after `import camformer_tf`, before or after Keras."""

import importlib
import sys

path, *modules = sys.argv[1:]
for name in modules:
    importlib.import_module(name)

import keras  # noqa: E402

assert not any(name.startswith("camformer_tf.training") for name in sys.modules)
print(keras.models.load_model(path).name)

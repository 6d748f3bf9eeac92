"""Residual CNNs that predict gene expression from promoter sequence, in TensorFlow and Keras."""

import os

__version__ = "0.1.0"

os.environ["KERAS_BACKEND"] = "tensorflow"  # the one that is supported; a user's own choice of
# another backend for other programs would otherwise break the first `import keras`

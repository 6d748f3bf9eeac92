"""A check that Keras uses TensorFlow."""

from __future__ import annotations

import os

from camformer_tf import errors

_ADVICE = (
    "camformer_tf needs TensorFlow: unset KERAS_BACKEND, or set it to tensorflow, before Python "
    'starts (and "backend" in ~/.keras/keras.json).'
)


def require_tensorflow() -> None:
    """Imports Keras and refuses every backend but TensorFlow.

    Raises:
        errors.UserError: Keras is set to another backend, or cannot be imported.
    """
    name = os.environ.get("KERAS_BACKEND", "tensorflow")
    if name == "tensorflow":
        try:
            import keras  # here, so that nothing is imported before a network is needed
        except ImportError as error:
            raise errors.UserError(f"Keras cannot be imported ({error}). {_ADVICE}") from error
        name = keras.config.backend()
    if name != "tensorflow":
        raise errors.UserError(f"the Keras backend is {name!r}. {_ADVICE}")

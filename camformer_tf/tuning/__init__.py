"""Search space → best recipe."""

from camformer_tf import backend

backend.require_tensorflow()  # before any module of the room imports Keras

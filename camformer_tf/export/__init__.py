"""Runs → one SavedModel, .keras, ONNX or LiteRT file."""

from camformer_tf import backend

backend.require_tensorflow()  # before any module of the room imports Keras

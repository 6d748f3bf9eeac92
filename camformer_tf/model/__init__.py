"""A recipe becomes a network, and a network's predictions become a table."""

from camformer_tf import backend

backend.require_tensorflow()  # before any module of the room imports Keras

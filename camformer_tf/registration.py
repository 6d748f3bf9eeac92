"""Makes the layers in .keras files known to Keras, so that `keras.models.load_model` reads them.

Keras looks a class up by the name under which it was registered, and imports no module for it. So
the layers are registered when Keras is imported, before or after this package; until then nothing
happens.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence

_MODULES = ("camformer_tf.model.layers", "camformer_tf.model.flanks")  # with registered layers


def install() -> None:
    """Registers the layers now if Keras has been imported, else as soon as it is imported."""
    keras = sys.modules.get("keras")
    if keras is None:
        sys.meta_path.insert(0, _KerasFinder())
    else:
        _register(keras)


def _register(keras: types.ModuleType) -> None:
    """Imports the modules that register layers; with another backend they cannot be imported."""
    if keras.config.backend() == "tensorflow":
        for name in _MODULES:
            importlib.import_module(name)


class _KerasFinder(importlib.abc.MetaPathFinder):
    """Finds Keras as the other finders do, and registers the layers after its import."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Returns the specification of `keras` with a loader that registers; None for others."""
        if fullname != "keras":
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _KerasLoader(spec.loader, self)
                return spec
        return None


class _KerasLoader(importlib.abc.Loader):
    """Loads Keras with its own loader, then registers the layers."""

    def __init__(self, loader: importlib.abc.Loader, finder: _KerasFinder) -> None:
        self._loader, self._finder = loader, finder

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        """Returns what Keras' own loader returns."""
        return self._loader.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        """Imports Keras and registers the layers; from then on the finder is not needed."""
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        _register(module)

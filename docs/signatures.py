"""Shows the values of defaults in the reference, in place of the names that hold them."""

import importlib
import inspect

import griffe

import camformer_tf


class Defaults(griffe.Extension):
    """Replaces `seed=recipe.RecordsConfig.seed` by `seed=42` in public functions."""

    def on_function(self, *, func: griffe.Function, **kwargs: object) -> None:
        """Sets the defaults of a public function to those of its signature."""
        module = func.module.path.removeprefix("camformer_tf.")
        if camformer_tf._PLACES.get(func.name) != module or func.parent.kind.value != "module":
            return
        function = getattr(importlib.import_module(func.module.path), func.name)
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.default is not inspect.Parameter.empty:
                func.parameters[name].default = repr(parameter.default)

"""Residual CNNs that predict gene expression from promoter sequence, in TensorFlow and Keras.

The names of `__all__` are the public ones. Each is imported when it is first used, so that
`import camformer_tf` takes no time. It makes Keras read .keras files of this package; see
`registration`.
"""

import importlib
import sys
import types

from camformer_tf import registration

__version__ = "0.1.0"

_PLACES = {  # public name → module; the name there is the same
    "Manifest": "data.manifest",
    "Model": "model.inference",
    "Run": "rundir",
    "UserError": "errors",
    "batches": "batches.dataset",
    "build_records": "data.records",
    "calibrate": "evaluation.ensemble",
    "compare": "evaluation.compare",
    "doctor": "training.doctor",
    "evaluate": "evaluation.evaluate",
    "export": "export.export",
    "export_records": "data.records",
    "fit": "training.fit",
    "import_torch": "model.torch_import",
    "inspect_records": "data.records",
    "load": "client.load",
    "predict": "client.predict",
    "recipes": "cost",
    "report": "evaluation.report",
    "serve": "server.server",
    "serve_check": "client.check",
    "simulate": "simulation.simulate",
    "tune": "tuning.tune",
    "verify_records": "data.verify",
}
__all__ = sorted(_PLACES)


class _Package(types.ModuleType):
    """The package, in which `export` and `batches` are the functions, not the rooms so named."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _PLACES and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> object:
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
        super().__setattr__(name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
registration.install()

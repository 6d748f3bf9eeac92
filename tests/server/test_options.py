import dataclasses
import inspect

import camformer_tf as cf
from camformer_tf.cli import serving
from camformer_tf.server import options

DEFAULTS = dataclasses.asdict(options.ServerOptions())


def test_the_function_has_the_options_and_defaults_of_the_dataclass():
    parameters = dict(inspect.signature(cf.serve).parameters)
    parameters.pop("export_dir")
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    assert defaults == DEFAULTS | {"labels": None}
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters.values())


def test_the_command_has_the_options_and_defaults_of_the_dataclass():
    parameters = serving.serve.make_context("serve", ["exports/mini"]).params
    del parameters["export_dir"], parameters["quiet"]
    assert parameters == DEFAULTS

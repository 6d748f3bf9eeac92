from camformer_tf.batches.dataset import batches as batches
from camformer_tf.client.check import serve_check as serve_check
from camformer_tf.client.load import load as load
from camformer_tf.client.predict import predict as predict
from camformer_tf.cost import recipes as recipes
from camformer_tf.data.manifest import Manifest as Manifest
from camformer_tf.data.records import build_records as build_records
from camformer_tf.data.records import export_records as export_records
from camformer_tf.data.records import inspect_records as inspect_records
from camformer_tf.data.verify import verify_records as verify_records
from camformer_tf.errors import UserError as UserError
from camformer_tf.evaluation.compare import compare as compare
from camformer_tf.evaluation.ensemble import calibrate as calibrate
from camformer_tf.evaluation.evaluate import evaluate as evaluate
from camformer_tf.evaluation.report import report as report
from camformer_tf.export.export import export as export
from camformer_tf.model.inference import Model as Model
from camformer_tf.model.torch_import import import_torch as import_torch
from camformer_tf.rundir import Run as Run
from camformer_tf.server.server import serve as serve
from camformer_tf.simulation.simulate import simulate as simulate
from camformer_tf.training.doctor import doctor as doctor
from camformer_tf.training.fit import fit as fit
from camformer_tf.tuning.tune import tune as tune

__version__: str
__all__: list[str]

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from camformer_tf import exportdir, recipe, shapes
from camformer_tf.data import sequence
from camformer_tf.export import export, warmup
from camformer_tf.model import keras_file, rescnn

OPERATIONS = Path(__file__).parents[1] / "golden" / "operations_2_12.txt"
FLANKS = ["tricks.flanks.cut_left=3", "tricks.flanks.add_left=ACGTN", "model.padding=5"]
LOOKUP = ["data.encoding=onehot_purine", "data.length=40"]


def read_graph(folder) -> saved_model_pb2.SavedModel:
    message = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    (meta_graph,) = message.meta_graphs
    return meta_graph


@pytest.fixture(scope="module")
def version_dir(keras_path, tmp_path_factory):
    return export.export([keras_path], tmp_path_factory.mktemp("out") / "e")


@pytest.fixture(scope="module")
def signatures(version_dir):
    saved_model = tf.saved_model.load(str(version_dir))
    yield saved_model.signatures


@pytest.fixture(scope="module")
def lookup_model(tmp_path_factory) -> Path:
    """Mini, whose letters are looked up, for shorter sequences."""
    settings = recipe.load("mini", LOOKUP)
    path = tmp_path_factory.mktemp("model") / "mini.keras"
    keras_file.save(rescnn.from_recipe(settings), path, settings)
    return path


@pytest.fixture(scope="module")
def lookup_export(lookup_model, tmp_path_factory):
    return export.export([lookup_model], tmp_path_factory.mktemp("out") / "e")


def test_its_operations_are_known_to_servers_of_tensorflow_2_12(
    version_dir, replicates, lookup_export, tmp_path
):
    flanks = recipe.load("smoke", [*FLANKS, "model.residual=false"])
    keras_file.save(rescnn.from_recipe(flanks), tmp_path / "flanks.keras", flanks)
    models = replicates, tmp_path / "flanks.keras"
    folders = [export.export(model, tmp_path / "e") for model in models]
    operations = set()
    for folder in (version_dir, lookup_export, *folders):
        definition = read_graph(folder).graph_def
        operations |= {node.op for node in definition.node}
        assert not definition.library.function
    lines = OPERATIONS.read_text().splitlines()
    assert operations == {line for line in lines if not line.startswith("#")}


def test_signatures_have_the_methods_and_names_that_servers_expect(version_dir):
    signatures = {
        name: (signature.method_name, sorted(signature.inputs), sorted(signature.outputs))
        for name, signature in read_graph(version_dir).signature_def.items()
    }
    prefix = "tensorflow/serving"
    assert signatures == {
        "serving_default": (f"{prefix}/predict", ["sequence"], ["expression", "reason", "valid"]),
        "onehot": (f"{prefix}/predict", ["onehot"], ["expression"]),
        "regress": (f"{prefix}/regress", ["inputs"], ["outputs"]),
    }


def test_the_same_weights_give_the_same_bytes_whatever_the_precision_of_training(tmp_path):
    settings = recipe.load("smoke")
    folders = []
    for dtype in ("float32", "mixed_bfloat16", "float32"):
        path = tmp_path / f"{len(folders)}.keras"
        keras_file.save(rescnn.from_recipe(settings, dtype), path, settings)
        folders.append(export.export([path], tmp_path / f"e{len(folders)}"))
    first, *repeats = (
        {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
        for folder in folders
    )
    assert set(first) == {
        "saved_model.pb",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
        exportdir.MODEL_CARD,
        exportdir.GOLDEN,
        exportdir.WARM_UP,
    }
    for repeat in repeats:
        assert {name for name in first if repeat[name] != first[name]} == set()


@pytest.mark.parametrize("size", [1, 7, 300])
def test_any_number_of_sequences_is_answered(signatures, promoters, size):
    strings = np.resize(np.array(promoters, object), size)
    expected = signatures["serving_default"](sequence=tf.constant(promoters))["expression"].numpy()
    answer = signatures["serving_default"](sequence=tf.constant(strings))["expression"]
    np.testing.assert_allclose(answer, np.resize(expected, size), atol=2e-6)


def test_no_sequence_gives_an_empty_answer(signatures):
    empty = tf.constant([], tf.string)
    answers = {
        **signatures["serving_default"](sequence=empty),
        **signatures["onehot"](onehot=tf.zeros([0, 110, 4])),
        **signatures["regress"](inputs=empty),
    }
    assert {name: values.shape.as_list() for name, values in answers.items()} == {
        name: [0] for name in ("expression", "valid", "reason", "outputs")
    }


def test_regress_gives_the_expressions_of_serialized_examples(signatures, promoters):
    examples = [warmup.example(text.encode()) for text in (*promoters, "ACGT")]
    answer = signatures["regress"](inputs=tf.constant(examples))["outputs"].numpy()
    expected = signatures["serving_default"](sequence=tf.constant(promoters))["expression"]
    np.testing.assert_allclose(answer[:-1], expected, atol=1e-6)
    assert np.isnan(answer[-1])


def _example(**lists) -> bytes:
    features = {name: tf.train.Feature(**values) for name, values in lists.items()}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


@pytest.mark.parametrize(
    "bad",
    [
        _example(),
        _example(other={"bytes_list": tf.train.BytesList(value=[b"ACGT"])}),
        _example(sequence={"bytes_list": tf.train.BytesList(value=[])}),
        _example(sequence={"bytes_list": tf.train.BytesList(value=[b"ACGT", b"ACGT"])}),
        _example(sequence={"float_list": tf.train.FloatList(value=[1.0])}),
        b"no example",
    ],
    ids=["nothing", "another feature", "no value", "two values", "numbers", "no message"],
)
def test_regress_refuses_anything_but_examples_of_one_sequence(signatures, promoters, bad):
    good = warmup.example(promoters[0].encode())
    with pytest.raises(tf.errors.InvalidArgumentError):
        signatures["regress"](inputs=tf.constant([good, bad]))


def test_channels_of_another_shape_are_refused(signatures, promoters):
    with pytest.raises((ValueError, TypeError, tf.errors.InvalidArgumentError)):
        signatures["onehot"](onehot=tf.constant(sequence.encode(promoters, "onehot_purine")))


def test_a_table_is_computed_at_loading_and_not_saved(lookup_export):
    weights = shapes.parameters(recipe.load("mini").model, 40, 5) * 4
    table = (6**5 + 1) * 6 * 256 * 4
    size = sum(f.stat().st_size for f in lookup_export.rglob("*") if f.is_file())
    assert size < weights + 1_000_000 < table


def test_looking_letters_up_gives_the_predictions_of_channels_and_of_the_model(
    lookup_model, lookup_export
):
    rng = np.random.default_rng(5)
    letters = rng.choice(np.frombuffer(b"ACGT", np.uint8), (30, 40))
    letters[:10, rng.integers(0, 40, 3)] = ord("N")
    texts = sequence.text(letters)
    signatures = tf.saved_model.load(str(lookup_export)).signatures
    by_letters = signatures["serving_default"](sequence=tf.constant([s.lower() for s in texts]))
    onehot = sequence.encode(texts, "onehot_purine")
    by_channels = signatures["onehot"](onehot=tf.constant(onehot))["expression"]
    network = keras_file.load(lookup_model).network
    expected = network.predict(onehot, verbose=0)[:, 0]
    assert by_letters["valid"].numpy().all()
    for expression in (by_letters["expression"], by_channels):
        np.testing.assert_allclose(expression, expected, atol=1e-6)
    empty = signatures["serving_default"](sequence=tf.constant([], tf.string))
    assert empty["expression"].shape == [0]

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from camformer_tf import exportdir, recipe
from camformer_tf.data import sequence
from camformer_tf.export import export, warmup
from camformer_tf.model import predict, rescnn

OPERATIONS = Path(__file__).parents[1] / "golden" / "operations_2_12.txt"
FLANKS = ["tricks.flanks.cut_left=3", "tricks.flanks.add_left=ACGTN", "model.padding=5"]
LOOKUP = ["data.encoding=onehot_purine", "data.length=40"]


def graph_of(folder) -> saved_model_pb2.SavedModel:
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    (one,) = saved.meta_graphs
    return one


@pytest.fixture(scope="module")
def exported(saved, tmp_path_factory):
    return export.export([saved], tmp_path_factory.mktemp("out") / "e")


@pytest.fixture(scope="module")
def signatures(exported):
    loaded = tf.saved_model.load(str(exported))
    yield loaded.signatures


@pytest.fixture(scope="module")
def lookup_model(tmp_path_factory) -> Path:
    """Mini, whose letters are looked up, for shorter sequences."""
    settings = recipe.load("mini", LOOKUP)
    path = tmp_path_factory.mktemp("model") / "mini.keras"
    predict.save(rescnn.from_recipe(settings), path, settings)
    return path


@pytest.fixture(scope="module")
def looking_up(lookup_model, tmp_path_factory):
    return export.export([lookup_model], tmp_path_factory.mktemp("out") / "e")


def test_its_operations_are_those_that_servers_of_tensorflow_2_12_know(
    exported, replicates, looking_up, tmp_path
):
    flanks = recipe.load("smoke", [*FLANKS, "model.residual=false"])
    predict.save(rescnn.from_recipe(flanks), tmp_path / "flanks.keras", flanks)
    others = [export.export([m], tmp_path / "e") for m in (replicates, tmp_path / "flanks.keras")]
    found = set()
    for folder in (exported, looking_up, *others):
        definition = graph_of(folder).graph_def
        found |= {node.op for node in definition.node}
        assert not definition.library.function
    lines = OPERATIONS.read_text().splitlines()
    assert found == {line for line in lines if not line.startswith("#")}


def test_signatures_have_the_methods_and_names_that_servers_expect(exported):
    found = {
        name: (one.method_name, *(sorted(names) for names in (one.inputs, one.outputs)))
        for name, one in graph_of(exported).signature_def.items()
    }
    way = "tensorflow/serving"
    assert found == {
        "serving_default": (f"{way}/predict", ["sequence"], ["expression", "reason", "valid"]),
        "onehot": (f"{way}/predict", ["onehot"], ["expression"]),
        "regress": (f"{way}/regress", ["inputs"], ["outputs"]),
    }


def test_the_same_weights_give_the_same_bytes_in_whatever_precision_they_were_trained(tmp_path):
    settings = recipe.load("smoke")
    folders = []
    for dtype in ("float32", "mixed_bfloat16", "float32"):
        path = tmp_path / f"{len(folders)}.keras"
        predict.save(rescnn.from_recipe(settings, dtype), path, settings)
        folders.append(export.export([path], tmp_path / f"e{len(folders)}"))
    first, *others = (
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
    for other in others:
        assert {name for name in first if other[name] != first[name]} == set()


@pytest.mark.parametrize("size", [1, 7, 300])
def test_any_number_of_sequences_is_answered(signatures, some, size):
    several = np.resize(np.array(some, object), size)
    whole = signatures["serving_default"](sequence=tf.constant(some))["expression"].numpy()
    answer = signatures["serving_default"](sequence=tf.constant(several))["expression"]
    np.testing.assert_allclose(answer, np.resize(whole, size), atol=2e-6)


def test_no_sequence_gives_an_empty_answer(signatures):
    nothing = tf.constant([], tf.string)
    answers = {
        **signatures["serving_default"](sequence=nothing),
        **signatures["onehot"](onehot=tf.zeros([0, 110, 4])),
        **signatures["regress"](inputs=nothing),
    }
    assert {name: values.shape.as_list() for name, values in answers.items()} == {
        name: [0] for name in ("expression", "valid", "reason", "outputs")
    }


def test_regress_gives_the_expressions_of_serialized_examples(signatures, some):
    examples = [warmup.example(one.encode()) for one in (*some, "ACGT")]
    answer = signatures["regress"](inputs=tf.constant(examples))["outputs"].numpy()
    expected = signatures["serving_default"](sequence=tf.constant(some))["expression"]
    np.testing.assert_allclose(answer[:-1], expected, atol=1e-6)
    assert np.isnan(answer[-1])


def _example(**lists) -> bytes:
    features = {name: tf.train.Feature(**one) for name, one in lists.items()}
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
def test_regress_refuses_what_is_no_example_of_one_sequence(signatures, some, bad):
    good = warmup.example(some[0].encode())
    with pytest.raises(tf.errors.InvalidArgumentError):
        signatures["regress"](inputs=tf.constant([good, bad]))


def test_channels_of_another_shape_are_refused(signatures, some):
    with pytest.raises((ValueError, TypeError, tf.errors.InvalidArgumentError)):
        signatures["onehot"](onehot=tf.constant(sequence.encode(some, "onehot_purine")))


def test_a_table_is_computed_at_loading_and_not_saved(looking_up):
    weights = rescnn.parameters(recipe.load("mini").model, 40, 5) * 4
    table = (6**5 + 1) * 6 * 256 * 4
    size = sum(f.stat().st_size for f in looking_up.rglob("*") if f.is_file())
    assert size < weights + 1_000_000 < table


def test_letters_looked_up_give_what_channels_give_and_what_the_model_predicts(
    lookup_model, looking_up
):
    draw = np.random.default_rng(5)
    letters = draw.choice(np.frombuffer(b"ACGT", np.uint8), (30, 40))
    letters[:10, draw.integers(0, 40, 3)] = ord("N")
    given = sequence.text(letters)
    signatures = tf.saved_model.load(str(looking_up)).signatures
    looked = signatures["serving_default"](sequence=tf.constant([s.lower() for s in given]))
    onehot = sequence.encode(given, "onehot_purine")
    by_channels = signatures["onehot"](onehot=tf.constant(onehot))["expression"]
    network, _ = predict.load_keras(lookup_model)
    expected = network.predict(onehot, verbose=0)[:, 0]
    assert looked["valid"].numpy().all()
    for found in (looked["expression"], by_channels):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    none = signatures["serving_default"](sequence=tf.constant([], tf.string))
    assert none["expression"].shape == [0]

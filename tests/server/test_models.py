import gc
import shutil
import weakref

import numpy as np
import pytest
from support import toy_export

from camformer_tf import exportdir
from camformer_tf.server import models, refusal


@pytest.fixture(scope="module")
def version(toy_folder):
    return models.load(toy_folder / "2", (1, 4))


def test_signatures_give_the_numbers_of_the_savedmodel(version, sequences):
    strings = np.array([s.encode() for s in sequences], object)
    outputs = version.signature("serving_default").call({"sequence": strings})
    np.testing.assert_allclose(outputs["expression"], toy_export.expression(sequences, 2), 1e-5)
    assert outputs["valid"].all() and version.number == 2 and version.card["model"] == "toy"


def test_tensors_have_the_types_and_shapes_of_the_signature(version):
    signature = version.signature("onehot")
    tensor = signature.inputs["onehot"]
    assert (tensor.dtype, tensor.kind, tensor.shape) == (np.float32, "float", (None, 110, 4))
    assert signature.has_rows and not version.signature("pair").has_rows
    assert version.signature("serving_default").inputs["sequence"].dtype == object


@pytest.mark.parametrize(
    ("shape", "array_shape", "accepts"),
    [
        (None, (2, 3), True),
        ((None, 4), (7, 4), True),
        ((None, 4), (7, 5), False),
        ((None, 4), (4,), False),
        ((), (), True),
    ],
)
def test_a_tensor_accepts_arrays_of_its_shape(shape, array_shape, accepts):
    tensor = models.Tensor(np.dtype(np.float32), "float", shape)
    assert tensor.accepts(np.zeros(array_shape)) == accepts


def test_inputs_that_do_not_fit_are_refused(version):
    onehot = version.signature("onehot")
    assert onehot.count_rows({"onehot": np.zeros((3, 110, 4))}) == 3
    with pytest.raises(refusal.Refusal, match=r"expected shape \[\?,110,4\] but got: \[3,110\]"):
        onehot.count_rows({"onehot": np.zeros((3, 110))})
    with pytest.raises(refusal.Refusal, match="input size does not match signature: 2!=1"):
        onehot.count_rows({"onehot": np.zeros((3, 110, 4)), "x": np.zeros(3)})


def test_a_signature_without_rows_counts_as_one_row(version):
    assert version.signature("pair").count_rows({"a": np.float32(1), "b": np.zeros(5)}) == 1


def test_no_rows_give_outputs_of_no_rows(version):
    outputs = version.signature("serving_default").empty_outputs()
    assert {name: (a.shape, a.dtype) for name, a in outputs.items()} == {
        "expression": ((0,), np.float32), "reason": ((0,), np.int32), "valid": ((0,), np.bool_),
    }  # fmt: skip


def test_an_error_within_the_model_becomes_a_refusal(version):
    with pytest.raises(refusal.Refusal) as error:
        version.signature("regress").call({"inputs": np.array([b"not an example"], object)})
    assert error.value.code == "INVALID_ARGUMENT"


def test_a_signature_for_another_api_is_refused(version):
    assert version.signature_for(models.REGRESS, "regress").name == "regress"
    with pytest.raises(refusal.Refusal, match="method_name to be tensorflow/serving/classify"):
        version.signature_for(models.CLASSIFY, "regress")
    with pytest.raises(refusal.Refusal, match="No signature was found with the name: x"):
        version.signature_for(models.REGRESS, "x")
    with pytest.raises(refusal.Refusal, match='"x" not found in signature def'):
        version.signature("x")


def test_an_export_without_a_card_loads(toy_folder, tmp_path):
    shutil.copytree(toy_folder / "1", tmp_path / "1")
    (tmp_path / "1" / exportdir.MODEL_CARD).unlink()
    assert models.load(tmp_path / "1", (1,)).card is None


def test_a_version_without_references_is_freed(toy_folder):
    version = models.load(toy_folder / "1", (1,))
    reference = weakref.ref(version)
    del version
    gc.collect()
    assert reference() is None

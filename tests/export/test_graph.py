import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from camformer_tf.data import rules
from camformer_tf.export import graph
from camformer_tf.model import calibrations

RULE = rules.Rule(length=8, length_margin=2, max_n=1)
MODEL = graph.ServedModel((), (), "onehot", RULE)

SEQUENCES = st.one_of(
    st.binary(max_size=14),
    st.text("ACGTUacgtu", min_size=4, max_size=12).map(str.encode),
    st.text("ACGTNnN", min_size=5, max_size=11).map(str.encode),
    st.text("ACGT \n\t\r\v\f\0é", max_size=12).map(str.encode),
    st.text("ACN", min_size=200, max_size=300).map(str.encode),
)


@pytest.fixture(scope="module")
def judge():
    def first_letters(letters):
        return {"expression": tf.cast(letters[:, 0], tf.float32)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def call(sequences):
        return graph.answer_sequences(first_letters, MODEL, sequences)

    return call


@settings(max_examples=300)
@given(st.lists(SEQUENCES, max_size=8))
def test_the_graph_judges_every_byte_string_as_the_rules_do(judge, sequences):
    answer = judge(tf.constant(sequences, tf.string, shape=[len(sequences)]))
    expected = [rules.judge(text.strip(), RULE) for text in sequences]
    assert answer["reason"].numpy().tolist() == expected
    assert answer["reason"].dtype == tf.int32
    assert answer["valid"].numpy().tolist() == [reason == 0 for reason in expected]
    assert np.isnan(answer["expression"]).tolist() == [reason > 0 for reason in expected]


SCALES = {
    "model": calibrations.Scale(),
    "affine": calibrations.Scale("affine", (0.0, 1.0), (5.0, 8.0)),
    "isotonic": calibrations.Scale("isotonic", (-2, -1, -0.5, 0.5, 1), (-4, -4, 1, 1.5, 9)),
    "isotonic of two points": calibrations.Scale("isotonic", (-1, 1), (3, 4)),
}


@pytest.mark.parametrize("name", SCALES)
def test_a_scale_maps_values_as_numpy_does(name):
    points = [*np.linspace(-3, 3, 601), *SCALES[name].x]
    values = np.array([points, points[::-1]], np.float32)
    expected = SCALES[name](values.astype(np.float64))
    np.testing.assert_allclose(
        graph.rescale(tf.constant(values), SCALES[name]), expected, atol=2e-6
    )

"""What each member of a model predicts of a source."""

import numpy as np

from camformer_tf.data import records
from camformer_tf.model import inference, predict


def test_members_predict_a_split_and_unreadable_rows_are_nan(replicates, library, tmp_path):
    model = inference.Model(inference.load_members([replicates]))
    (part, predictions), *parts = predict.member_predictions(model, library, "val")
    assert not parts and part.expressions is not None
    assert predictions.shape == (3, 300) and predictions.dtype == np.float64
    letters = records.read(library, "val").letters
    np.testing.assert_array_equal(
        model.predict_letters(letters), np.float32(predictions.mean(axis=0))
    )
    (tmp_path / "in.txt").write_text("ACGT\n" + "A" * 110 + "\n")
    ((part, predictions),) = predict.member_predictions(model, tmp_path / "in.txt")
    assert part.reasons[0] and part.reasons[1] is None
    assert np.isnan(predictions).tolist() == [[True, False]] * 3

import dataclasses

import numpy as np
import pytest

from camformer_tf import errors
from camformer_tf.data import rules
from camformer_tf.export import golden
from camformer_tf.metrics import conformal
from camformer_tf.model import calibrations, engines

RULE = rules.Rule()
BAND = conformal.Band(0.9, 2.0, 0.5, 100)
WORST = conformal.Coverage(1, 1.0, 1.0, 0.0, 1.0)


def model(rule: rules.Rule = RULE, factor: float = 1.0) -> engines.Engine:
    """The share of A in a sequence, times a factor."""
    return engines.NetworkEngine(lambda letters: (letters == ord("A")).mean(axis=1) * factor, rule)


def calibration_on(scale: calibrations.Scale) -> calibrations.Calibration:
    return calibrations.Calibration((), scale, BAND, WORST, ())


@pytest.mark.parametrize(
    "rule", [rules.Rule(), rules.Rule(60, 0, 0), rules.Rule(10, 8, 2), rules.Rule(4, 4, 9)]
)
def test_the_reasons_of_golden_sequences_are_right_for_any_rule(rule):
    golden_predictions = golden.build([model(rule)], None, None)
    for text, reason in zip(
        golden_predictions.sequences, golden_predictions.answers["reason"], strict=True
    ):
        assert reason == rules.judge(text.strip().encode(), rule)
    assert len(golden_predictions.readable()) >= 20
    assert (
        np.isnan(golden_predictions.answers["expression"]).tolist()
        == (~golden_predictions.answers["valid"]).tolist()
    )


def test_large_answers_have_a_wider_tolerance():
    assert golden.build([model()], None, None).tolerance["expression"] == 1e-5
    scale = calibrations.Scale("affine", (0.0, 1.0), (0.0, 17_000.0))
    golden_predictions = golden.build([model()], calibration_on(scale), None)
    assert golden_predictions.tolerance["expression"] == pytest.approx(
        1e-5 * 17_000 * 0.3 / 17, rel=0.2
    )


def test_sequences_close_to_a_step_of_the_scale_are_left_out():
    values = np.unique(golden.build([model()], None, None).answers["expression"][:20])
    step = float(values[3])
    steep = calibrations.Scale("isotonic", (0.0, step - 1e-7, step + 1e-7, 1.0), (0, 0, 5, 5))
    golden_predictions = golden.build([model()], calibration_on(steep), None)
    expected = golden.build([model()], None, None)
    left_out = set(expected.sequences) - set(golden_predictions.sequences)
    shares = dict(zip(expected.sequences, expected.answers["expression"], strict=True))
    assert left_out and {shares[text] for text in left_out} == {step}


def test_answers_that_differ_by_more_than_the_tolerance_are_refused():
    golden_predictions = golden.build([model(), model(factor=2)], None, None)
    golden_predictions.check(golden_predictions.answers)
    for name, value in (("expression", 2e-5), ("spread", -2e-5), ("reason", 1)):
        wrong = golden_predictions.answers[name].copy()
        wrong[2] += value
        with pytest.raises(errors.UserError, match=f"differs in 1 of {len(wrong)} .* {name} of"):
            golden_predictions.check({**golden_predictions.answers, name: wrong})
    nan = dataclasses.replace(golden_predictions).answers["expression"].copy()
    nan[0] = np.nan
    with pytest.raises(errors.UserError, match="is nan, the model's is"):
        golden_predictions.check({"expression": nan})

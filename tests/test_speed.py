"""The rate of matrix products."""

import numpy as np
import pytest

from camformer_tf import speed


def test_the_rate_is_two_operations_for_each_product(monkeypatch):
    times = iter(np.arange(100.0))  # a second passes with each look at the clock
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(times))
    # the start at 0, reads at 1 and 2 (two multiplications), the end at 3, the last read at 4
    rate = speed.multiplication_rate("float32", "CPU:0", 100, seconds=2.5)
    assert rate == pytest.approx(2 * 2 * 100**3 / 4 / 1e9)


def test_rates_are_measured_on_the_first_device_for_each_dtype(monkeypatch):
    monkeypatch.setattr(speed, "SIDES", {"CPU": 64, "GPU": 64})
    rates = speed.rates(seconds=0.01)
    assert {name.split()[0] for name in rates} >= {"float32", "bfloat16"}
    assert all(rate > 0 for rate in rates.values())

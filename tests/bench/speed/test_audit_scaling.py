"""Tests of `audit_scaling`."""

from __future__ import annotations

import pytest

from bench.speed.audit_scaling import exponent


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_is_that_power(power: float) -> None:
    assert exponent(7.0, 7.0 * 3.0**power, 3.0) == pytest.approx(power)

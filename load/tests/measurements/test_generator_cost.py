"""What the generator costs is told per request and as a share of the machine."""

from __future__ import annotations

import os
import time

import pytest

from load.measurements.generator_cost import GeneratorCost, Meter


def test_cost_is_told_per_request_and_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert GeneratorCost(1000, 0.025, 0.5).facts == {
        "generator CPU per request, us": 25.0,
        "generator CPU, of the machine": "2.5%",
    }
    assert GeneratorCost(0, 0.025, 0.5).facts["generator CPU per request, us"] is None


def test_meter_counts_what_came_after_it_was_made() -> None:
    meter = Meter(100)
    began = time.process_time()
    while time.process_time() < began + 0.05:
        pass
    cost = meter.read(150)
    assert cost.requests == 50
    assert 0.05 <= cost.cpu_s < 0.5
    assert cost.wall_s >= 0.05

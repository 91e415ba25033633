"""Bundles without their sampling thread."""

from __future__ import annotations

import threading

import pytest
from apache_beam.runners.worker.statesampler import StateSampler, get_current_tracker
from apache_beam.utils.counters import CounterFactory

from udfs.beam import without_sampling


@pytest.fixture
def sampler(monkeypatch: pytest.MonkeyPatch) -> StateSampler:
    for name in ("start", "stop"):  # put back at the end
        monkeypatch.setattr(StateSampler, name, getattr(StateSampler, name))
    return StateSampler("stage", CounterFactory())


def bundle(sampler: StateSampler) -> int:
    """As Beam runs it; returns how many threads it started."""
    before = threading.active_count()
    sampler.reset()
    sampler.start()
    started = threading.active_count() - before
    with sampler.scoped_state("step", "process"):
        assert get_current_tracker() is sampler
    sampler.stop_if_still_running()
    assert get_current_tracker() is None
    return started


def test_a_bundle_starts_no_thread(sampler: StateSampler) -> None:
    assert bundle(sampler) == 1  # what Beam does by itself
    without_sampling()
    assert bundle(sampler) == bundle(sampler) == 0

"""Bundles without their sampling thread."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from apache_beam.runners.worker.statesampler import StateSampler, get_current_tracker
from apache_beam.utils.counters import CounterFactory

import udfs.rank
from udfs.beam import without_sampling
from udfs.rank import Rank


@pytest.fixture
def sampler(monkeypatch: pytest.MonkeyPatch) -> StateSampler:
    for name in ("start", "stop"):  # put back at the end
        monkeypatch.setattr(StateSampler, name, getattr(StateSampler, name))
    return StateSampler("stage", CounterFactory())


def bundle(sampler: StateSampler) -> int:
    """As Beam runs it; returns how many threads it started."""
    before = set(threading.enumerate())
    sampler.reset()
    sampler.start()
    started = set(threading.enumerate()) - before
    with sampler.scoped_state("step", "process"):
        assert get_current_tracker() is sampler
    sampler.stop_if_still_running()
    assert get_current_tracker() is None
    return len(started)


def test_a_bundle_starts_no_thread(sampler: StateSampler) -> None:
    assert bundle(sampler) == 1  # what Beam does by itself
    without_sampling()
    assert bundle(sampler) == bundle(sampler) == 0


def test_a_worker_that_opens_the_operator_is_set_before_it_loads_the_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = Mock()
    for name in ("end_with_the_jvm", "without_sampling", "live_engine", "FlightRecorder"):
        monkeypatch.setattr(udfs.rank, name, getattr(calls, name))
    settings = SimpleNamespace(suspects=Path("suspects"), metrics=False)
    Rank(settings).open(Mock())
    made = [name for name, *_ in calls.mock_calls]
    assert sorted(made[:2]) == ["end_with_the_jvm", "without_sampling"]
    assert "live_engine" in made[2:]

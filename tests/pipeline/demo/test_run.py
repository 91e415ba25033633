"""The result of a demo."""

from __future__ import annotations

import json
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import kafka
from pipeline.config import load_settings
from pipeline.demo import run
from pipeline.demo.screen import Stage
from pipeline.demo.watch import Tally


def test_measures_of_nothing_are_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "end_offset", lambda *_: 0)
    monkeypatch.setattr(kafka, "read_to_end", lambda *_: iter(()))
    monkeypatch.setattr(run, "most_popular", lambda *_: set())
    stage = Stage(titles={}, spotlight="u", seconds=1.0, began=0.0)
    bundle: Any = SimpleNamespace()
    told = asdict(run.result(load_settings(environ={}), stage, Tally(), bundle))
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    measures = ("first_list_s", "hit_rate_at_10", "popularity_hit_rate_at_10")
    assert [told[name] for name in measures] == [None] * 3
    assert told["freshness_ms"] == {"p50": None, "p99": None}

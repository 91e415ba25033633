"""The bench of engines: known times give known figures, and made-up engines are real ones."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engines.registry import Registry
from pipeline.bench.engine import engine
from pipeline.bench.made_up import KINDS
from pipeline.cli import app
from pipeline.config import Settings, load_settings
from schemas.errors import EngineError
from tests.engines.examples import events, fit


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = load_settings(flags={"engine.store": tmp_path / "store"}, environ={})
    for batch in (2, 4):
        Registry(settings.engine.store).add(fit(events("abcd", "abd")).draft(batch=batch), "tiny")
    return settings


def test_known_times_give_known_figures(settings: Settings) -> None:
    ticks = count(0, 0.25)  # a run takes a quarter of a second
    told = engine(settings, ["tiny@1", "tiny"], 0, [3], [1, 2], rounds=4, clock=lambda: next(ticks))
    rows = told["engines"]
    assert [(row["engine"], row["batch"], row["threads"]) for row in rows] == [
        ("tiny@1", 2, 1),
        ("tiny@2", 4, 1),
        ("tiny@1", 2, 2),
        ("tiny@2", 4, 2),
    ]
    assert {row["p50_ms"] for row in rows} == {row["p99_ms"] for row in rows} == {250.0}
    assert [row["lists_per_s_core"] for row in rows] == [12, 12, 6, 6]
    folder = settings.engine.store / "tiny" / "1"
    files = sum(path.stat().st_size for path in folder.iterdir() if path.name != "manifest.json")
    assert rows[0]["size_bytes"] == files


def test_without_a_name_made_up_engines_of_every_model_are_timed(settings: Settings) -> None:
    told = engine(settings, [], 150, [2], [1], rounds=2)
    rows = [(row["model"], row["batch"], row["items"]) for row in told["engines"]]
    assert rows == [(kind, 2, 150) for kind in KINDS]


def test_an_unknown_engine_is_an_error(settings: Settings) -> None:
    with pytest.raises(EngineError, match="no engine other"):
        engine(settings, ["other"], 0, [1], [1])


def test_the_command_shows_a_table_or_json(settings: Settings) -> None:
    words = ["bench", "engine", "tiny", "--batch", "1", "--set"]
    words.append(f"engine.store={settings.engine.store}")
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0
    assert "tiny@2" in shown.stdout
    assert "lists/s core" in shown.stdout
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout.splitlines()[-1])
    assert [row["users_at_once"] for row in told["engines"]] == [1]


@pytest.mark.parametrize("batch", ["", "1,x", "0", "-1", "1,,2"])
def test_numbers_that_are_none_are_refused(settings: Settings, batch: str) -> None:
    done = CliRunner().invoke(app, ["bench", "engine", "tiny", "--batch", batch])
    assert done.exit_code == 2
    assert "--batch cannot be read" in done.stderr

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engines.registry import Registry
from pipeline.cli import app
from tests.engines.examples import events, fit


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    registry = Registry(tmp_path_factory.mktemp("store"))
    for log in (events("abc", "abd"), events("abc", "abde")):
        registry.add(fit(log).draft(batch=2, k=3), "shop")
    registry.activate("shop", "2")
    return registry


def shown(store: Registry, *words: str) -> str:
    done = CliRunner().invoke(app, ["engines", "--set", f"engine.store={store.store}", *words])
    assert done.exit_code == 0
    return done.stdout


def test_each_engine_has_a_line(store: Registry) -> None:
    heading, first, second, *_ = shown(store).splitlines()
    assert heading.split() == ["engine", "model", "precision", "made", "of", "items", "KB"]
    assert first.split()[:3] == ["shop@1", "cooccurrence", "float32"]
    assert second.split()[:3] == ["shop@2", "active", "cooccurrence"]


def test_one_whose_manifest_is_damaged_is_listed_all_the_same(store: Registry) -> None:
    (store.store / "shop" / "1" / "manifest.json").write_text("{")
    assert "shop@1          not readable" in shown(store)
    told = json.loads(shown(store, "--json").splitlines()[-1])["engines"]
    assert [one["model"] for one in told] == ["not readable", "cooccurrence"]
    assert (told[1]["items"], told[1]["active"], told[1]["parent"]) == (5, True, None)


def test_an_empty_store_is_no_error(tmp_path: Path) -> None:
    assert "engines = []" in shown(Registry(tmp_path / "none"))

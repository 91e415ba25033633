"""A catalogue changes under a model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from engines.backends.onnx import OnnxBackend
from engines.catalogue import item_hash
from engines.evaluate import profiles_from_histories
from engines.models import kinds
from engines.models.plan import Plan, Shape
from engines.registry import Registry
from pipeline.config import Settings, load_settings
from pipeline.refresh import refresh
from schemas.errors import EngineError, SourceError
from tests.engines.examples import CLICK, events, fit, inputs
from tests.engines.models.test_content import shop


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """With an engine ``shop`` that knows lamps, soaps and chairs."""
    path = tmp_path_factory.mktemp("store")
    settings = load_settings(flags={"engine.store": path}, environ={})
    model = kinds.fit("content", shop(), Plan(shape=Shape.of_width(8)))
    Registry(path).add(model.draft(batch=4, k=6), "shop")
    return settings


def listed(settings: Settings, engine: str, *history: str) -> list[str]:
    bundle = Registry(settings.engine.store).open(*engine.split("@"))
    slots = [(item_hash(item), CLICK, place) for place, item in enumerate(history)]
    profiles = profiles_from_histories([slots], [[item for item, _, _ in slots]])
    with OnnxBackend(bundle) as backend:
        backend.warm_up()
        ranked = backend.run(inputs(profiles, bundle))
    found: list[str] = bundle.catalogue.item_ids[ranked.items[0]].tolist()
    return found


def test_a_new_item_lies_beside_its_like_and_the_model_stays(
    store: Settings, tmp_path: Path
) -> None:
    items = tmp_path / "items.json"
    items.write_text(json.dumps({"fresh": {"title": "lamp number 99"}, "lamp-1": {"price": 3.0}}))
    told = refresh(store, "shop@1", items, None)
    assert (told["items"], told["new"], told["available"]) == (25, 1, 25)
    registry = Registry(store.engine.store)
    before, after = registry.open("shop", "1"), registry.open(*told["engine"].split("@"))
    assert after.model == before.model
    assert after.manifest.parent == "shop@1"
    assert after.catalogue.titles[25] == "lamp number 99"
    assert "fresh" in listed(store, told["engine"], "lamp-1", "lamp-2", "lamp-3")
    assert "fresh" not in listed(store, told["engine"], "soap-1", "soap-2", "soap-3")
    assert listed(store, "shop@1", "soap-1") == listed(store, told["engine"], "soap-1")


def test_only_what_is_available_is_listed(store: Settings, tmp_path: Path) -> None:
    stock = tmp_path / "stock.txt"
    stock.write_text("soap-1\nsoap-2\n\nlamp-5\nunknown\n")
    told = refresh(store, "shop@1", None, stock)
    assert (told["new"], told["available"]) == (0, 3)
    found = listed(store, told["engine"], "soap-3")
    assert set(found[:2]) == {"soap-1", "soap-2"}
    assert found[2:] == ["lamp-5", "", "", ""]  # the list ends there


def test_what_is_like_nothing_is_there_and_has_no_place(store: Settings, tmp_path: Path) -> None:
    items = tmp_path / "items.json"
    items.write_text(json.dumps({"odd": {"title": "zyx"}}))
    told = refresh(store, "shop@1", items, None)
    bundle = Registry(store.engine.store).open(*told["engine"].split("@"))
    assert bundle.catalogue.item_ids[-1] == "odd"
    assert not np.any(bundle.tables["item_vectors"][25])


def test_there_are_only_so_many_rows_to_spare(store: Settings, tmp_path: Path) -> None:
    items = tmp_path / "items.json"
    items.write_text(json.dumps({f"new-{n}": {"title": "lamp"} for n in range(9)}))
    with pytest.raises(EngineError, match=r"are full[\s\S]*at most 3 new items[\s\S]*received: 9"):
        refresh(store, "shop@1", items, None)


def test_an_engine_without_tables_says_so(store: Settings) -> None:
    Registry(store.engine.store).add(fit(events("abc", "abd")).draft(batch=2, k=3), "plain")
    with pytest.raises(EngineError, match="a part of its model"):
        refresh(store, "plain", None, None)


def test_a_missing_file_is_named(store: Settings, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.txt"):
        refresh(store, "shop@1", None, tmp_path / "none.txt")

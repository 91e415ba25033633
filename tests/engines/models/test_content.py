"""Items are as like as their attributes, also those that nobody has met."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engines.backends.onnx import OnnxBackend
from engines.catalogue import Catalogue, item_hash
from engines.evaluate import profiles_from_histories
from engines.models import kinds
from engines.models.content_vectors import content_vectors
from engines.models.initial import initial_vectors
from engines.models.interactions import Interactions
from engines.models.plan import Plan, Shape
from engines.registry import Registry
from schemas.errors import EngineError
from tests.engines.examples import CLICK, events, inputs

KINDS = ("lamp", "soap", "chair")
PLAN = Plan(shape=Shape.of_width(8))


def shop(new: dict[str, dict[str, object]] | None = None) -> Interactions:
    """Users who stay with one kind of thing; the titles say which."""
    random = np.random.default_rng(0)
    items = {kind: [f"{kind}-{number}" for number in range(8)] for kind in KINDS}
    log = [
        (f"user-{user}", item, CLICK, place)
        for user in range(60)
        for place, item in enumerate(random.choice(items[KINDS[user % 3]], 6))
    ]
    known: dict[str, dict[str, object]] = {
        item: {"title": f"{kind} number {number}"}
        for kind in KINDS
        for number, item in enumerate(items[kind])
    }
    return Interactions.read(log, known | (new or {}))


def listed(folder: Path, seen: Interactions, *history: str) -> tuple[list[str], list[str]]:
    """Item ids and channels after clicks on ``history``."""
    bundle = Registry(folder).add(kinds.fit("content", seen, PLAN).draft(batch=4, k=6), "content")
    slots = [(item_hash(item), CLICK, place) for place, item in enumerate(history)]
    profiles = profiles_from_histories([slots], [[item for item, _, _ in slots]])
    with OnnxBackend(bundle) as backend:
        backend.warm_up()
        ranked = backend.run(inputs(profiles, bundle))
    names = [bundle.manifest.channels[channel] for channel in ranked.channels[0]]
    return bundle.catalogue.item_ids[ranked.items[0]].tolist(), names


def test_what_is_like_the_last_item_comes_first(tmp_path: Path) -> None:
    ids, channels = listed(tmp_path, shop(), "soap-3")
    assert {item.partition("-")[0] for item in ids} == {"soap"}
    assert set(channels) == {"content"}


def test_a_new_item_is_listed_beside_its_like(tmp_path: Path) -> None:
    seen = shop({"fresh": {"title": "lamp number 77"}})
    assert seen.popularity[len(seen.catalogue)] == 0
    assert seen.catalogue.item_ids[-1] == "fresh"
    assert "fresh" in listed(tmp_path / "lamps", seen, "lamp-1", "lamp-2")[0]
    assert "fresh" not in listed(tmp_path / "soaps", seen, "soap-1", "soap-2")[0]


def test_a_new_item_can_be_where_a_user_begins(tmp_path: Path) -> None:
    ids, _ = listed(tmp_path, shop({"fresh": {"title": "chair number 77"}}), "fresh")
    assert {item.partition("-")[0] for item in ids} == {"chair"}


def test_vectors_as_given_count_like_words(tmp_path: Path) -> None:
    vectors = {kind: np.eye(3)[place].tolist() for place, kind in enumerate(KINDS)}
    known = {f"{kind}-{number}": {"vector": vectors[kind]} for kind in KINDS for number in range(8)}
    seen = shop(known | {"fresh": {"vector": vectors["soap"]}})
    assert "fresh" in listed(tmp_path, seen, "soap-1", "soap-2", "soap-3")[0]


def test_a_new_user_gets_what_is_popular(tmp_path: Path) -> None:
    ids, channels = listed(tmp_path, shop())
    assert set(channels) == {"popularity"}
    assert ids == shop().catalogue.item_ids[1:7].tolist()


def test_titles_can_be_read_by_an_encoder() -> None:
    """And what it says of them decides, here against the words."""
    seen = shop()
    length = torch.tensor([[0.0], *[[float(len(item))] for item in seen.catalogue.item_ids[1:]]])
    torch.manual_seed(0)
    wanted = initial_vectors(seen, 8)
    without = content_vectors(seen, wanted, None)
    with_it = content_vectors(seen, wanted, lambda catalogue: length)
    assert not torch.allclose(without, with_it)
    assert torch.linalg.norm(with_it[1:], dim=1).tolist() == pytest.approx([1] * 24)
    assert not with_it[0].any()


def test_without_attributes_there_is_nothing_to_learn() -> None:
    with pytest.raises(EngineError, match=r"nothing to tell items by[\s\S]*--items"):
        kinds.fit("content", Interactions.read(events("abc", "bcd")), PLAN)


def test_vectors_must_be_of_one_length_and_numbers() -> None:
    with pytest.raises(EngineError, match=r"differ in length[\s\S]*1, 2"):
        shop({"x": {"vector": [1.0]}, "y": {"vector": [1.0, 2.0]}})
    with pytest.raises(EngineError, match="not finite"):
        shop({"x": {"vector": [float("nan")]}})


def test_the_text_encoder_knows_what_words_mean() -> None:
    """No word is shared; only the sense is."""
    from engines.models.text import minilm

    titles = ["red wooden chair", "crimson oak seat", "lavender soap"]
    items = {str(place): {"title": title} for place, title in enumerate(titles)} | {"3": {}}
    catalogue = Catalogue.build(list(items), np.ones(4), items)
    vectors = minilm(catalogue).numpy()
    assert vectors.shape == (5, 384)
    assert np.linalg.norm(vectors, axis=1).tolist() == pytest.approx([0, 1, 1, 1, 0], abs=1e-5)
    assert vectors[1] @ vectors[2] > 0.4 > vectors[1] @ vectors[3]

"""Bundles of small engines, exported once for all backends."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines import models
from engines.backends.base import RankedBatch
from engines.bundle import Bundle
from engines.draft import Draft
from engines.models.cooccurrence import CooccurrenceModel
from engines.registry import Registry
from tests.engines.examples import (
    random_blend,
    random_content,
    random_encoder,
    random_model,
    random_sasrec,
)

ITEMS = 60


def opened(folder: Path, draft: Draft, name: str = "test") -> Bundle:
    return Registry(folder).add(draft, name)


def rows(ranked: RankedBatch) -> list[bytes]:
    """The bytes of each list."""
    lists = zip(ranked.items, ranked.scores, ranked.channels, strict=True)
    return [b"".join(part.tobytes() for part in parts) for parts in lists]


def random_large(items: int) -> CooccurrenceModel:
    """Exported as for a large catalogue, which is ranked by candidates."""
    return random_model(items)


@pytest.fixture(
    scope="session",
    params=[random_model, random_large, random_content, random_sasrec, random_blend],
)
def each(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Bundle:
    """One of every model."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param is random_large:
            patch.setattr(models.cooccurrence, "WHOLE_ROW", 0)
        draft = request.param(ITEMS).draft(batch=16)
    return opened(tmp_path_factory.mktemp("store"), draft)


@pytest.fixture(scope="session")
def cooccurrence(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """An engine without tables."""
    return opened(tmp_path_factory.mktemp("store"), random_model(ITEMS).draft(batch=16))


@pytest.fixture(scope="session")
def content(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """An engine with tables."""
    return opened(tmp_path_factory.mktemp("store"), random_content(ITEMS).draft(batch=16))


@pytest.fixture(scope="session")
def encoding(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A small encoder."""
    return opened(tmp_path_factory.mktemp("store"), random_encoder(ITEMS, 16))

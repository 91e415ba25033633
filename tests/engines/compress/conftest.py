"""Small engines, exported once for all tests: one of every model, and one that was fitted."""

from __future__ import annotations

import pytest

from engines.bundle import Bundle
from engines.models import sasrec
from engines.registry import Registry
from tests.engines.examples import random_blend, random_content, random_model, random_sasrec
from tests.engines.rule import PLAN, SEEN

ITEMS = 60
BATCH = 16


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def engines(registry: Registry) -> dict[str, Bundle]:
    made = {
        "content": random_content(ITEMS),
        "sasrec": random_sasrec(ITEMS),
        "blend": random_blend(ITEMS),
        "cooccurrence": random_model(ITEMS),
    }
    return {name: registry.add(model.draft(batch=BATCH), name) for name, model in made.items()}


@pytest.fixture(scope="session")
def engine(registry: Registry) -> Bundle:
    """An engine of two blocks that has learnt the rule of a log."""
    return registry.add(sasrec.fit(SEEN, PLAN).draft(batch=8, k=5), "shop")

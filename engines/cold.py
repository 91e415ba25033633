"""Cold start: how well a model finds items that its log has never met, by attributes alone.

a share of the items     is taken out of the log and of all histories
users                    whose item to be found is one of them
ranked                   all items, and once more the cold ones alone
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from engines import metrics
from engines.bundle import Bundle
from engines.catalogue import item_hash
from engines.evaluate import answer, fit_engine
from engines.holdout import Holdout
from engines.models.plan import Plan
from schemas.errors import EngineError

K = 10


def cold_start(
    model: str,
    held: Holdout,
    share: float,
    plan: Plan,
    attributes: Mapping[str, Mapping[str, Any]],
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Fit without some items, and look for them.

    Args:
        model: a name in ``kinds.KINDS``.
        held: what to fit on and what to find.
        share: of the items, above 0 and below 1.
        plan: of the fit; its seed chooses the items.
        attributes: as of `engines.evaluate.evaluate`.
        progress: called with users done.

    Returns:
        JSON-ready: ``model``, ``users`` tested, ``items`` ranked, ``cold_items``, and
        ``hit_rate@10`` among all items and among the cold ones, beside that of chance. A list by
        popularity has none of them.

    Raises:
        EngineError: no such item has attributes, or nobody is to find one.
    """
    cold = _chosen(held, share, plan.seed, attributes)
    held = _without(held, cold)
    with tempfile.TemporaryDirectory() as folder:
        bundle = fit_engine(model, held, plan, attributes, Path(folder))
    items = len(bundle.catalogue)
    found = {"all": _hit_rate(bundle, held, progress), "random": K / items, "popularity": 0.0}
    among = {"random": K / len(cold)}
    if "available" in bundle.tables:
        among["cold"] = _hit_rate(_only(bundle, cold), held, progress)
    return {
        "model": model,
        "users": len(held.histories),
        "items": items,
        "cold_items": len(cold),
        f"hit_rate@{K}": found,
        f"hit_rate@{K}_among_cold_items": among,
    }


def _chosen(
    held: Holdout, share: float, seed: int, attributes: Mapping[str, Mapping[str, Any]]
) -> set[str]:
    """The items that are taken out: a share of those with attributes."""
    met = sorted({item for _, item, _, _ in held.log} | set(held.target_ids))
    known = [item for item in met if any(attributes.get(item, {}).values())]
    if not known:
        raise EngineError(
            "no item can be found that its log has never met",
            expected="a title, category, provider, price or vector of the items",
            received="none",
            fix="give them with --items",
        )
    number = max(1, round(share * len(known)))
    return set(np.random.default_rng(seed).choice(known, number, replace=False).tolist())


def _without(held: Holdout, cold: set[str]) -> Holdout:
    hashes = {item_hash(item) for item in cold}
    tested = [
        (user, [event for event in history if event[0] not in hashes])
        for user, history in enumerate(held.histories)
        if held.target_ids[user] in cold
    ]
    kept = [(user, history) for user, history in tested if history]
    return replace(
        held,
        log=[event for event in held.log if event[1] not in cold],
        histories=[history for _, history in kept],
        excluded=[held.excluded[user] for user, _ in kept],
        target_ids=[held.target_ids[user] for user, _ in kept],
    ).checked("one user who is to find such an item")


def _only(bundle: Bundle, cold: set[str]) -> Bundle:
    """The engine with no other items to list."""
    index = bundle.catalogue.lookup(np.array([item_hash(item) for item in cold], np.uint64))
    available = np.full_like(bundle.tables["available"], -np.inf)
    available[0, index] = 0
    return replace(bundle, tables={**bundle.tables, "available": available})


def _hit_rate(bundle: Bundle, held: Holdout, progress: Callable[[int], None]) -> float:
    lists, targets = answer(bundle, held, True, progress)
    return metrics.hit_rate(metrics.places_of(targets, lists), K)

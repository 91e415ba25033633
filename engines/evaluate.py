"""How well a model finds each user's next item, all items ranked, by the engine that would serve.

    holdout ─▶ log ─▶ model ─▶ engine
            └▶ histories ─▶ profiles ─▶ features ─▶ engine ─▶ lists ─▶ metrics

What is measured is what the job would publish.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines import metrics
from engines.backends import open_backend
from engines.bundle import Bundle
from engines.features import Histories, features
from engines.holdout import Holdout
from engines.models import kinds
from engines.models.interactions import Interactions
from engines.models.plan import Plan
from engines.registry import Registry
from schemas.profile import EXCLUDED_SLOTS, HISTORY_SLOTS, LAYOUT, PROFILE_DTYPE

CUTOFFS = (5, 10, 20)
POPULARITY = "popularity"
CHUNK = 1024  # users in memory at once

EventLists = Sequence[Sequence[tuple[int, int, int]]]


def profiles_from_histories(
    histories: EventLists,
    excluded: Sequence[Sequence[int]] | None = None,
    excluded_slots: int = EXCLUDED_SLOTS,
) -> NDArray[np.void]:
    """Packed profiles with these histories; of counts and digests they hold nothing.

    Args:
        histories: per user (item_hash, event type, event time in ms), oldest first; the last 50
            are kept.
        excluded: per user item hashes, at most ``excluded_slots``.
        excluded_slots: as PROFILE_DTYPE has, or more.

    Returns:
        PROFILE_DTYPE [n], its field ``excluded`` being ``excluded_slots`` wide.
    """
    layout = [
        (name, "<u8", (excluded_slots,)) if name == "excluded" else (name, PROFILE_DTYPE[name])
        for name in PROFILE_DTYPE.names or ()
    ]
    profiles = np.zeros(len(histories), np.dtype(layout))
    profiles["layout"] = LAYOUT
    for profile, history in zip(profiles, histories, strict=True):
        kept = history[-HISTORY_SLOTS:]
        profile["history_len"] = len(kept)
        if kept:
            slots = profile["history"][: len(kept)]
            slots["item_hash"], slots["event_type"], slots["event_time"] = zip(*kept, strict=True)
    for profile, hashes in zip(profiles, excluded or [], strict=bool(excluded)):
        profile["excluded_len"] = len(hashes)
        profile["excluded"][: len(hashes)] = hashes
    return profiles


def evaluate(
    model: str,
    held: Holdout,
    plan: Plan,
    attributes: Mapping[str, Mapping[str, Any]] | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Fit, export and measure a model.

    Args:
        model: a name in ``kinds.KINDS``, or "popularity": the quickest of them without any history.
        held: what to fit on and what to find.
        plan: of the fit.
        attributes: item id -> title, category, price, provider, as far as known.
        progress: called with users done.

    Returns:
        JSON-ready: ``model``, ``users`` tested, ``items`` ranked and ``metrics``. Accuracy is of
        lists of 20; coverage, gini and novelty are of their first 10.

    Raises:
        EngineError: an unknown model, or nothing to fit on.
    """
    with tempfile.TemporaryDirectory() as folder:
        bundle = fit_engine(model, held, plan, attributes, Path(folder))
    lists, targets = answer(bundle, held, model != POPULARITY, progress)
    return {
        "model": model,
        "users": len(targets),
        "items": len(bundle.catalogue),
        "metrics": measure(lists, targets, bundle.catalogue.popularity),
    }


def fit_engine(
    model: str,
    held: Holdout,
    plan: Plan,
    attributes: Mapping[str, Mapping[str, Any]] | None,
    store: Path,
) -> Bundle:
    """An engine that lists 20 items and leaves out all that a tested user was shown."""
    kinds.check_kind(model, (POPULARITY,))
    kind = "cooccurrence" if model == POPULARITY else model
    fitted = kinds.fit(kind, Interactions.read(held.log, attributes), plan)
    draft = fitted.draft(k=max(CUTOFFS), excluded_slots=max(map(len, held.seen)))
    return Registry(store).add(draft, model)


def answer(
    bundle: Bundle, held: Holdout, with_histories: bool, progress: Callable[[int], None]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lists [n, 20] of the tested users, and what was to be found [n], 0 if it is not known."""
    histories: EventLists = held.histories if with_histories else [[]] * len(held.histories)
    slots = bundle.manifest.excluded_slots
    lists = rank(bundle, histories, held.seen, slots, progress)
    return lists, bundle.catalogue.lookup(held.targets)


def rank(
    bundle: Bundle,
    histories: EventLists,
    excluded: Sequence[Sequence[int]],
    excluded_slots: int,
    progress: Callable[[int], None] = lambda done: None,
) -> NDArray[np.int64]:
    """Lists [n, k] by a bundle's engine; arguments are those of `profiles_from_histories`."""
    lists = []
    with open_backend(bundle) as backend:
        backend.warm_up()
        for start in range(0, len(histories), CHUNK):
            part = slice(start, start + CHUNK)
            profiles = profiles_from_histories(histories[part], excluded[part], excluded_slots)
            shown = Histories.of(profiles, bundle.manifest.history_slots)
            lists.append(backend.run(features(shown, bundle.catalogue)).items)
            progress(min(part.stop, len(histories)))
    return np.concatenate(lists)


def measure(
    lists: NDArray[np.int64], targets: NDArray[np.int64], popularity: NDArray[np.float64]
) -> dict[str, float]:
    """Every metric of lists int64 [n, 20] with the targets int64 [n]; popularity is [I+1]."""
    places = metrics.places_of(targets, lists)
    exposed = metrics.exposure(lists[:, :10], len(popularity) - 1)
    return {
        **{f"hit_rate@{k}": metrics.hit_rate(places, k) for k in CUTOFFS},
        **{f"ndcg@{k}": metrics.ndcg(places, k) for k in CUTOFFS},
        "mrr": metrics.mrr(places),
        "coverage": metrics.coverage(exposed),
        "gini": metrics.gini(exposed),
        "novelty": metrics.novelty(exposed, popularity[1:]),
    }

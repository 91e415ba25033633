"""Leave-one-out evaluation, all items ranked, through the very engine that would serve.

    sequence of a user     a b c d e f
    fitted on              a b c d
    input                  a b c d e        (shown items are removed from the list)
    held out                         f

Sequences -> profiles -> ``features`` -> exported ONNX -> backend -> metrics: what is measured is
what the job would publish.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines import metrics
from engines.backends.onnx import OnnxBackend
from engines.bundle import Bundle
from engines.catalogue import item_hash
from engines.features import Histories, features
from engines.models import cooccurrence
from engines.registry import Registry
from schemas.errors import EngineError
from schemas.profile import EXCLUDED_SLOTS, HISTORY_SLOTS, LAYOUT, PROFILE_DTYPE

CUTOFFS = (5, 10, 20)
MODELS = ("cooccurrence", "popularity")
PURCHASE = 5  # Avro enum order
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


def evaluate_leave_one_out(
    sequences: Sequence[tuple[str, Sequence[str]]],
    model: str = "cooccurrence",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Fit, export and measure a model.

    Args:
        sequences: (user_id, item ids oldest first); users with one item are fitted on nothing and
            not tested.
        model: "cooccurrence", or "popularity": the same engine without any history.
        progress: called with users done and users to do.

    Returns:
        JSON-ready: ``model``, ``users`` tested, ``items`` ranked and ``metrics``. Accuracy is of
        lists of 20; coverage, gini and novelty are of their first 10.

    Raises:
        EngineError: an unknown model, or no user with two items, or nothing to fit on.
    """
    if model not in MODELS:
        raise EngineError(
            "no such model", expected=" or ".join(MODELS), received=repr(model), fix="choose one"
        )
    tested = [list(items) for _, items in sequences if len(items) >= 2]
    if not tested:
        raise EngineError(
            "there is no user to test on",
            expected="at least one user with two items",
            received=f"{len(sequences)} users",
            fix="take a longer log",
        )
    fitted = cooccurrence.fit(_events(sequences))
    slots = max(len(set(items[:-1])) for items in tested)
    with tempfile.TemporaryDirectory() as folder:
        draft = fitted.draft(k=max(CUTOFFS), excluded_slots=slots)
        bundle = Registry(Path(folder)).add(draft, model)
    lists, targets = _rank(bundle, tested, model == "cooccurrence", slots, progress)
    return {
        "model": model,
        "users": len(tested),
        "items": len(bundle.catalogue),
        "metrics": _measure(lists, targets, bundle.catalogue.popularity),
    }


def _events(
    sequences: Sequence[tuple[str, Sequence[str]]],
) -> Iterator[tuple[str, str, int, int]]:
    """All but each user's last two items, as purchases a second apart."""
    for user_id, items in sequences:
        for place, item_id in enumerate(items[:-2]):
            yield user_id, item_id, PURCHASE, place * 1000


def _rank(
    bundle: Bundle,
    tested: list[list[str]],
    with_history: bool,
    slots: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lists [n, 20] for all but the last item of each user, and the indices [n] of the last."""
    hashes = [[item_hash(item) for item in items] for items in tested]
    targets = bundle.catalogue.lookup(np.array([user[-1] for user in hashes], np.uint64))
    lists = []
    with OnnxBackend(bundle) as backend:
        backend.warm_up()
        for start in range(0, len(hashes), CHUNK):
            seen = [user[:-1] for user in hashes[start : start + CHUNK]]
            histories = [
                [(item, PURCHASE, place * 1000) for place, item in enumerate(items)]
                if with_history
                else []
                for items in seen
            ]
            profiles = profiles_from_histories(
                histories, [sorted(set(items)) for items in seen], slots
            )
            seen_by_it = Histories.of(profiles, bundle.manifest.history_slots)
            lists.append(backend.run(features(seen_by_it, bundle.catalogue)).items)
            if progress:
                progress(start + len(seen), len(hashes))
    return np.concatenate(lists), targets


def _measure(
    lists: NDArray[np.int64], targets: NDArray[np.int64], popularity: NDArray[np.float64]
) -> dict[str, float]:
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

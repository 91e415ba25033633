"""A candidate engine against the active one, on the same held-out users.

    users ─┬▶ profiles ─▶ features ─▶ candidate ─▶ lists ─┬─▶ agreement, accuracy, ─▶ checks
           └▶ profiles ─▶ features ─▶ active ────▶ lists ─┘   exposure, latency

What is compared is what the job would publish: items that a user bought, disliked or hid are left
out, and every run has the engine's own batch shape.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from engines import metrics
from engines.backends import open_backend
from engines.bundle import Bundle
from engines.comparison import (
    Floats,
    Ints,
    bootstrap_interval,
    overlap_at_k,
    rank_biased_overlap,
    shared_by_depth,
)
from engines.evaluate import rank
from engines.exposure import Exposure, by_popularity, by_provider, hashes_of
from engines.holdout import Holdout
from engines.latency import Clock, by_turns, full_batches
from engines.verdict import Check
from schemas.profile import EXCLUDED_SLOTS


@dataclass(frozen=True)
class Thresholds:
    """The bounds of a gate; each belongs to what it allows.

    Args:
        min_users: tested.
        min_overlap: mean overlap@k of the two lists of a user.
        max_ndcg_drop: share of the active engine's NDCG@k. Compared with it is the least drop in
            the 95 % interval of the difference, so that only a drop that is beyond chance fails.
        min_coverage_ratio: different items that the candidate lists, for one of the active engine.
        max_provider_shift, max_decile_shift: total variation distance of the exposure.
        max_latency_ms: median of a full batch; or
        max_latency_ratio: times the active engine's, if that is longer.
    """

    min_users: int
    min_overlap: float
    max_ndcg_drop: float
    min_coverage_ratio: float
    max_provider_shift: float
    max_decile_shift: float
    max_latency_ms: float
    max_latency_ratio: float


def compare(
    candidate: Bundle,
    active: Bundle,
    held: Holdout,
    *,
    seed: int = 0,
    threads: int = 1,
    batches: int = 200,
    clock: Clock = time.perf_counter,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """What changes for the tested users if the candidate is activated.

    Args:
        held: the users; what a model may be fitted on plays no part.
        seed: of the bootstrap.
        threads: of one engine call.
        batches: that are timed of each engine.
        clock: times them, in seconds.
        progress: called with lists done, of twice the number of users.

    Returns:
        JSON-ready. Lists are as long as the shorter k. ``overlap``, ``rank_biased_overlap``,
        ``ndcg`` and ``hit_rate`` have means with 95 % intervals over users; ``difference`` is
        candidate less active, paired user by user.

    Raises:
        EngineError: an engine cannot be loaded or run.
    """
    users = len(held.histories)
    k = min(candidate.manifest.k, active.manifest.k)
    ours = _lists(candidate, held, k, progress)
    theirs = _lists(active, held, k, lambda done: progress(users + done))
    shown = hashes_of(candidate.catalogue, ours), hashes_of(active.catalogue, theirs)
    exposure = Exposure.of(*shown)
    columns = {
        "overlap": overlap_at_k(*shown),
        "rank_biased_overlap": rank_biased_overlap(*shown),
        **_accuracy(_places(candidate, held, ours), _places(active, held, theirs), k),
    }
    shared = shared_by_depth(*shown)[:, -1]
    return {
        "candidate": _described(candidate),
        "active": _described(active),
        "users": users,
        "k": k,
        **_figures(columns, seed),
        "users_by_shared_items": np.bincount(shared, minlength=k + 1).tolist(),
        **_spread(candidate, ours, active, theirs),
        "providers": by_provider(exposure, candidate.catalogue, active.catalogue),
        "popularity": by_popularity(exposure, active.catalogue),
        "latency": _latency(candidate, active, held, threads, batches, clock),
    }


def judge(found: dict[str, Any], thresholds: Thresholds) -> list[Check]:
    """What `compare` found, held against the bounds."""
    values = {
        "min_users": found["users"],
        "min_overlap": found["overlap"]["mean"],
        "max_ndcg_drop": _least_drop(found["ndcg"]),
        "min_coverage_ratio": found["coverage"]["ratio"],
        "max_provider_shift": found["providers"]["shift"],
        "max_decile_shift": found["popularity"]["shift"],
    }
    checks = [Check.of(name, value, getattr(thresholds, name)) for name, value in values.items()]
    return [*checks, _latency_check(found["latency"], thresholds)]


def _latency_check(latency: dict[str, Any], thresholds: Thresholds) -> Check:
    """A better model may take its time, up to a bound that counts for itself."""
    took_ms, active_ms = (latency[side]["p50_ms"] for side in ("candidate", "active"))
    bound_ms = max(thresholds.max_latency_ms, thresholds.max_latency_ratio * active_ms)
    return Check.of("max_latency_ms", took_ms, bound_ms)


def _lists(bundle: Bundle, held: Holdout, k: int, progress: Callable[[int], None]) -> Ints:
    return rank(bundle, held.histories, held.excluded, EXCLUDED_SLOTS, progress)[:, :k]


def _places(bundle: Bundle, held: Holdout, lists: Ints) -> Ints:
    return metrics.places_of(bundle.catalogue.lookup(held.targets), lists)


def _described(bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "engine": bundle.label,
        "manifest_sha256": bundle.digest.hex(),
        "model": manifest.model,
        "items": len(bundle.catalogue),
        "k": manifest.k,
        "batch": manifest.batch,
        "precision": manifest.precision,
    }


def _accuracy(ours: Ints, theirs: Ints, k: int) -> dict[str, Floats]:
    """NDCG and hit of each user [n] by places in the lists of the candidate and the active one."""
    columns = {}
    for name, per_user in (("ndcg", metrics.gains), ("hit_rate", metrics.hits)):
        candidate, active = per_user(ours, k), per_user(theirs, k)
        columns[f"{name}.candidate"] = candidate
        columns[f"{name}.active"] = active
        columns[f"{name}.difference"] = candidate - active
    return columns


def _figures(columns: dict[str, Floats], seed: int) -> dict[str, Any]:
    """Mean and interval of each column [n], nested where the name has a dot."""
    values = np.stack(list(columns.values()), axis=1)
    lows, highs = bootstrap_interval(values, seed)
    told: dict[str, Any] = {}
    for name, mean, low, high in zip(columns, values.mean(axis=0), lows, highs, strict=True):
        figure = {"mean": float(mean), "low": float(low), "high": float(high)}
        outer, _, inner = name.partition(".")
        if inner:
            told.setdefault(outer, {})[inner] = figure
        else:
            told[outer] = figure
    return told


def _spread(candidate: Bundle, ours: Ints, active: Bundle, theirs: Ints) -> dict[str, Any]:
    """Coverage and Gini of each engine over its own catalogue.

    The ratio is of different items: a share of the catalogue would fall with every item that is
    new in it, even if the lists stayed the same.
    """
    exposed = [
        metrics.exposure(lists, len(bundle.catalogue))
        for bundle, lists in ((candidate, ours), (active, theirs))
    ]
    listed = [int((count > 0).sum()) for count in exposed]
    covered, unequal = ([f(count) for count in exposed] for f in (metrics.coverage, metrics.gini))
    return {
        "coverage": {
            "candidate": covered[0],
            "active": covered[1],
            "ratio": listed[0] / max(listed[1], 1),
        },
        "gini": {"candidate": unequal[0], "active": unequal[1]},
    }


def _latency(
    candidate: Bundle, active: Bundle, held: Holdout, threads: int, batches: int, clock: Clock
) -> dict[str, Any]:
    """Time of a full batch in ms, of as many users as the engine takes at once.

    The ratio is not of times per user: padded up, a handful of users takes as long as a batch.
    """
    with ExitStack() as opened:
        turns = []
        for bundle in (candidate, active):
            backend = opened.enter_context(open_backend(bundle, threads))
            backend.warm_up()
            turns.append((backend, full_batches(bundle, held.histories, held.excluded)))
        took_ms = by_turns(turns, batches, clock).took_ms
    p50, p99 = np.quantile(took_ms, [0.5, 0.99], axis=0).tolist()
    return {
        "batches": batches,
        "candidate": {"p50_ms": p50[0], "p99_ms": p99[0]},
        "active": {"p50_ms": p50[1], "p99_ms": p99[1]},
        "ratio": p50[0] / max(p50[1], 1e-9),
    }


def _least_drop(ndcg: dict[str, dict[str, float]]) -> float:
    """The least drop in the interval of the difference, as a share of the active engine's NDCG.

    0 where it may have risen. An engine that finds nothing has nothing to lose.
    """
    before = ndcg["active"]["mean"]
    return max(0.0, -ndcg["difference"]["high"]) / before if before > 0 else 0.0

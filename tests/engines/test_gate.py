from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.bundle import Bundle
from engines.catalogue import Catalogue, item_hash
from engines.evaluate import rank
from engines.exposure import Exposure, by_popularity, by_provider
from engines.gate import Thresholds, compare, judge
from engines.holdout import Holdout, leave_one_out
from engines.models.interactions import Event
from engines.registry import Registry
from schemas.profile import EXCLUDED_SLOTS
from tests.engines.examples import CLICK, fit

HIDE = 10
ITEMS = 40
K = 5
PROVIDERS = {f"item-{n:02}": {"provider": f"maker-{n % 4}"} for n in range(ITEMS)}
BOUNDS = Thresholds(
    min_users=100,
    min_overlap=0.0,
    max_ndcg_drop=0.02,
    min_coverage_ratio=0.75,
    max_provider_shift=0.2,
    max_decile_shift=0.3,
    max_latency_ms=1.5,
    max_latency_ratio=2.0,
)


def ring_log(users: int, seed: int = 0) -> list[Event]:
    """After item n comes n + 1, most of the time."""
    chance = np.random.default_rng(seed)
    log = []
    for user in range(users):
        item = int(chance.integers(ITEMS))
        for place in range(8):
            log.append((f"user-{user}", f"item-{item:02}", CLICK, place * 1000))
            item = (item + 1) % ITEMS if chance.random() < 0.8 else int(chance.integers(ITEMS))
    return log


LOG = ring_log(200)
HELD = leave_one_out(LOG)


class Engines:
    """Bundles of one store."""

    def __init__(self, store: Path) -> None:
        self.registry = Registry(store)

    def of(self, log: list[Event], name: str, k: int = K) -> Bundle:
        return self.registry.add(fit(log, PROVIDERS).draft(batch=8, k=k), name)


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Engines:
    return Engines(tmp_path_factory.mktemp("gate"))


@pytest.fixture(scope="module")
def good(engines: Engines) -> Bundle:
    return engines.of(HELD.log, "good")


@pytest.fixture(scope="module")
def garbage(engines: Engines) -> Bundle:
    """As popular as before, but what comes after what is mixed up."""
    mixed = np.random.default_rng(1).permutation(len(HELD.log))
    log = [
        (user, HELD.log[other][1], kind, time_ms)
        for (user, _, kind, time_ms), other in zip(HELD.log, mixed, strict=True)
    ]
    return engines.of(log, "garbage")


def clock(*steps_ms: float) -> Callable[[], float]:
    """A clock by which runs take these times, in turn."""

    def seconds() -> Iterator[float]:
        now = 0.0
        for number in count():
            yield now
            now += steps_ms[number % len(steps_ms)] / 1000
            yield now

    return seconds().__next__


def compared(
    candidate: Bundle, active: Bundle, held: Holdout = HELD, **more: Any
) -> dict[str, Any]:
    return compare(candidate, active, held, **{"batches": 10, "clock": clock(1.0), **more})


def failed(found: dict[str, Any], bounds: Thresholds = BOUNDS) -> set[str]:
    return {check.name for check in judge(found, bounds) if not check.passed}


def test_an_engine_passes_against_itself(good: Bundle) -> None:
    found = compared(good, good)
    assert failed(found, replace(BOUNDS, min_overlap=1.0, max_provider_shift=0.0)) == set()
    assert found["overlap"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert found["rank_biased_overlap"]["mean"] == pytest.approx(1)
    assert found["users_by_shared_items"] == [0] * K + [found["users"]]
    for key in ("ndcg", "hit_rate"):
        assert found[key]["difference"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
        assert found[key]["candidate"] == found[key]["active"]
    assert found["providers"]["shift"] == found["popularity"]["shift"] == 0
    assert found["ndcg"]["active"]["mean"] > 0.4


def test_an_engine_that_lists_garbage_fails(good: Bundle, garbage: Bundle) -> None:
    found = compared(garbage, good)
    assert failed(found) == {"max_ndcg_drop"}
    drop = next(check for check in judge(found, BOUNDS) if check.name == "max_ndcg_drop")
    assert 0.4 < drop.value < 1 - found["ndcg"]["candidate"]["mean"]
    assert failed(compared(good, garbage)) == set()  # the other way round it is a gain


def test_an_engine_of_a_little_more_data_passes(engines: Engines, good: Bundle) -> None:
    more = engines.of(HELD.log + [("new", *rest) for _, *rest in ring_log(15, seed=5)], "more")
    found = compared(more, good)
    assert failed(found) == set()
    assert 0.5 < found["overlap"]["mean"] < 1


def test_an_engine_that_lists_the_same_for_all_fails(engines: Engines, good: Bundle) -> None:
    alone = [(f"{user}-{item}-{time}", item, kind, 0) for user, item, kind, time in HELD.log]
    assert {"min_coverage_ratio", "max_ndcg_drop"} <= failed(
        compared(engines.of(alone, "popular"), good)
    )


@pytest.mark.parametrize(("candidate_ms", "passes"), [(1.0, True), (1.9, True), (2.1, False)])
def test_a_slower_engine_fails(good: Bundle, candidate_ms: float, passes: bool) -> None:
    found = compared(good, good, clock=clock(candidate_ms, 1.0))
    assert failed(found) == (set() if passes else {"max_latency_ms"})
    assert found["latency"]["candidate"]["p50_ms"] == pytest.approx(candidate_ms)
    assert found["latency"]["active"] == pytest.approx({"p50_ms": 1.0, "p99_ms": 1.0})


def test_a_noisy_moment_hits_both_and_no_median(good: Bundle) -> None:
    noise = clock(*[1.0] * 8, 500.0, 500.0)  # one round in five
    latency = compared(good, good, clock=noise)["latency"]
    assert latency["ratio"] == pytest.approx(1)
    assert latency["candidate"]["p99_ms"] == latency["active"]["p99_ms"] > 400


def test_lists_are_compared_by_item_not_by_index(engines: Engines, good: Bundle) -> None:
    """Events of users with one event change the popularity, and so every index, and no pair."""
    order = [str(item) for item in good.catalogue.item_ids[1:]]
    alone = [
        (f"{item}-{n}", item, CLICK, 0)
        for place, item in enumerate(order)
        for n in range(4 * place)
    ]
    turned = engines.of(HELD.log + alone, "turned")
    assert [str(item) for item in turned.catalogue.item_ids[1:]] != order
    assert compared(turned, good)["overlap"]["mean"] > 0.8
    by_index = [
        rank(bundle, HELD.histories, HELD.excluded, EXCLUDED_SLOTS) for bundle in (turned, good)
    ]
    assert np.mean([len(set(a) & set(b)) / K for a, b in zip(*by_index, strict=True)]) < 0.5


@pytest.mark.parametrize("hidden", [False, True])
def test_what_a_user_hid_is_not_listed(good: Bundle, hidden: bool) -> None:
    steps = [("item-05", CLICK, 0), ("item-06", CLICK, 1), ("item-07", CLICK, 3)]
    steps += [("item-07", HIDE, 2)] if hidden else []
    held = leave_one_out((f"user-{n}", *step) for n in range(20) for step in steps)
    found = compared(good, good, held)
    assert found["hit_rate"]["candidate"]["mean"] == found["hit_rate"]["active"]["mean"]
    assert found["hit_rate"]["active"]["mean"] == (0 if hidden else 1)


def test_the_shorter_k_counts(engines: Engines, good: Bundle) -> None:
    long = engines.of(HELD.log, "long", k=2 * K)
    found = compared(long, good)
    assert (found["k"], found["candidate"]["k"], found["active"]["k"]) == (K, 2 * K, K)
    assert found["overlap"]["mean"] == 1


def test_the_same_figures_come_again_and_progress_is_told(good: Bundle, garbage: Bundle) -> None:
    told: list[int] = []
    first = compared(garbage, good, progress=told.append)
    assert told[-1] == 2 * first["users"]
    assert told == sorted(told)
    assert json.loads(json.dumps(first, allow_nan=False)) == compared(garbage, good)
    assert compared(garbage, good, seed=1)["overlap"] != first["overlap"]


def figures(**values: float) -> dict[str, Any]:
    """What `compare` found, as far as it is judged; everything in order unless told otherwise."""
    known = {"users": 500, "overlap": 0.5, "ndcg": 0.1, "high": 0.0, "coverage": 1.0}
    known |= {"provider": 0.0, "decile": 0.0, "latency": 1.0, "before": 1.0, **values}
    return {
        "users": known["users"],
        "overlap": {"mean": known["overlap"]},
        "ndcg": {"active": {"mean": known["ndcg"]}, "difference": {"high": known["high"]}},
        "coverage": {"ratio": known["coverage"]},
        "providers": {"shift": known["provider"]},
        "popularity": {"shift": known["decile"]},
        "latency": {
            "candidate": {"p50_ms": known["latency"]},
            "active": {"p50_ms": known["before"]},
        },
    }


@pytest.mark.parametrize(
    ("name", "within", "beyond"),
    [
        ("min_users", {"users": 100}, {"users": 99}),
        ("min_overlap", {"overlap": 0.4}, {"overlap": 0.39}),
        ("max_ndcg_drop", {"high": -0.002}, {"high": -0.0021}),
        ("min_coverage_ratio", {"coverage": 0.75}, {"coverage": 0.74}),
        ("max_provider_shift", {"provider": 0.2}, {"provider": 0.21}),
        ("max_decile_shift", {"decile": 0.3}, {"decile": 0.31}),
        ("max_latency_ms", {"latency": 2.0}, {"latency": 2.01}),
        ("max_latency_ms", {"latency": 1.5, "before": 0.1}, {"latency": 1.51, "before": 0.1}),
    ],
)
def test_each_bound_belongs_to_what_it_allows(
    name: str, within: dict[str, float], beyond: dict[str, float]
) -> None:
    bounds = replace(BOUNDS, min_overlap=0.4)
    assert failed(figures(**within), bounds) == set()
    assert failed(figures(**beyond), bounds) == {name}


def test_an_engine_that_finds_nothing_has_nothing_to_lose() -> None:
    assert failed(figures(ndcg=0.0, high=0.0)) == set()


def catalogue(popularity: dict[str, float], **providers: str) -> Catalogue:
    known = {item: {"provider": provider} for item, provider in providers.items()}
    return Catalogue.build(list(popularity), list(popularity.values()), known)


def exposure(candidate: str, active: str) -> Exposure:
    """Of one list each, one item a letter."""
    hashes = (
        np.array([[item_hash(item) for item in items]], np.uint64) for items in (candidate, active)
    )
    return Exposure.of(*hashes)


def test_a_provider_is_the_candidates_or_else_the_active_ones() -> None:
    candidate = catalogue({"a": 1, "b": 1, "d": 1}, a="ours")
    active = catalogue({"a": 1, "b": 1, "c": 1}, a="theirs", b="theirs")
    told = by_provider(exposure("abd", "abc"), candidate, active)
    third = pytest.approx(1 / 3)
    assert told["largest"] == [
        {"provider": "ours", "candidate": third, "active": third},
        {"provider": "theirs", "candidate": third, "active": third},
        {"provider": "unknown", "candidate": third, "active": third},
    ]
    assert (told["shift"], told["providers"]) == (0, 3)


def test_only_the_largest_providers_are_told_but_all_count() -> None:
    letters = "abcdefghijklmnopqrstuvwx"
    known = catalogue(dict.fromkeys(letters, 1.0), **{item: f"by-{item}" for item in letters})
    told = by_provider(exposure(letters[:12], letters[12:]), known, known)
    assert (told["shift"], told["providers"], len(told["largest"])) == (1, 24, 10)


def test_items_that_the_active_engine_does_not_know_are_new() -> None:
    active = catalogue({"a": 10, "b": 10, "c": 10, "d": 10, "e": 10})
    told = by_popularity(exposure("az", "ae"), active)
    shares = {one["decile"]: (one["candidate"], one["active"]) for one in told["deciles"]}
    assert list(shares) == [*map(str, range(1, 11)), "new"]
    assert shares["2"] == (0.5, 0.5)
    assert shares["10"] == (0.0, 0.5)
    assert shares["new"] == (0.5, 0.0)
    assert told["shift"] == 0.5

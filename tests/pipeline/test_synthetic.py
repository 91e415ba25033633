"""The made-up shop: the same for the same seed, and with something in it to learn."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise

import pytest

from pipeline.sources.base import EVENT_TYPES, UserEvent
from pipeline.sources.synthetic import COMPANIONS, Shop

START_MS = 1_700_000_000_000


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop(seed=5, users=200)


@pytest.fixture(scope="module")
def log(shop: Shop) -> list[UserEvent]:
    return list(shop.events(10_000, START_MS, 250))


def test_the_same_seed_gives_the_same_log(shop: Shop, log: list[UserEvent]) -> None:
    again = Shop(seed=5, users=200)
    assert list(again.events(10_000, START_MS, 250)) == log
    assert again.catalogue == shop.catalogue


def test_another_seed_gives_another_log(shop: Shop, log: list[UserEvent]) -> None:
    other = Shop(seed=6, users=200)
    assert next(other.events(1, START_MS, 250)).event_id != log[0].event_id
    assert [item.price for item in other.catalogue] != [item.price for item in shop.catalogue]


def test_a_longer_log_begins_like_a_shorter_one(shop: Shop, log: list[UserEvent]) -> None:
    assert list(shop.events(100, START_MS, 250)) == log[:100]


def test_times_are_evenly_spaced_and_ids_unique(log: list[UserEvent]) -> None:
    assert [event.event_time for event in log] == [START_MS + 250 * at for at in range(len(log))]
    assert len({event.event_id for event in log}) == len(log)


def test_a_fraction_of_a_millisecond_adds_up(shop: Shop) -> None:
    *_, last = shop.events(1001, START_MS, 0.5)
    assert last.event_time == START_MS + 500


def test_items_have_a_title_a_category_and_a_price(shop: Shop, log: list[UserEvent]) -> None:
    catalogue = {item.item_id: item for item in shop.catalogue}
    assert len(catalogue) == 10 * shop.items_per_category
    assert len({(item.category, item.title) for item in shop.catalogue}) == len(catalogue)
    assert all(item.price and item.price > 0 and item.provider for item in shop.catalogue)
    assert {event.item_id for event in log} <= catalogue.keys()
    assert {event.event_type for event in log} <= set(EVENT_TYPES)
    for event in log:
        if event.event_type in ("cart", "purchase"):
            assert event.value == catalogue[event.item_id].price


def by_user(log: list[UserEvent]) -> dict[str, list[UserEvent]]:
    grouped = defaultdict(list)
    for event in log:
        if event.event_type != "impression":
            grouped[event.user_id].append(event)
    return grouped


def companion_share(shop: Shop, pairs: list[tuple[UserEvent, UserEvent]]) -> float:
    """How often the second item is one of the few companions of the first."""
    size = shop.items_per_category
    index = {item.item_id: at for at, item in enumerate(shop.catalogue)}
    hits = 0
    for first, second in pairs:
        category, place = divmod(index[first.item_id], size)
        companions = {
            category * size + (place * 7 + step) % size for step in range(1, COMPANIONS + 1)
        }
        hits += index[second.item_id] in companions
    return hits / len(pairs)


def test_a_companion_follows_far_more_often_than_by_chance(
    shop: Shop, log: list[UserEvent]
) -> None:
    own = [pair for events in by_user(log).values() for pair in pairwise(events)]
    assert companion_share(shop, own) > 0.5
    strangers = list(pairwise(log))  # whoever came next: no taste in common
    assert companion_share(shop, strangers) < 0.05


def test_users_keep_to_few_categories_that_drift(shop: Shop, log: list[UserEvent]) -> None:
    category = {item.item_id: item.category for item in shop.catalogue}
    in_two = drifted = busy = 0
    for events in by_user(log).values():
        if len(events) < 60:
            continue
        busy += 1
        halves = events[:30], events[-30:]
        early, late = (Counter(category[e.item_id] for e in half).most_common(2) for half in halves)
        in_two += sum(count for _, count in early) >= 24
        drifted += {name for name, _ in early} != {name for name, _ in late}
    assert busy > 20
    assert in_two > 0.7 * busy  # ten categories: by chance none
    assert 0.1 * busy < drifted < busy


def test_some_users_are_far_more_active_than_others(log: list[UserEvent]) -> None:
    counts = [count for _, count in Counter(event.user_id for event in log).most_common()]
    assert counts[0] > 5 * counts[len(counts) // 2]

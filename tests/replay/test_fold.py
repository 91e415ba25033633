"""The rules of the profile, stated on the reference fold."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.replay.fold import (
    COUNTER_MAX,
    DECAY,
    ONE,
    Fold,
    Step,
    decay,
    profile_hash,
)
from pipeline.replay.judge import Decoded
from pipeline.sections import ProfileSettings
from schemas.profile import HISTORY_SLOTS, PROFILE_BYTES, PROFILE_DTYPE
from schemas.reasons import Outcome
from tests.replay.records import (
    CLICK,
    DAY_MS,
    HIDE,
    HOUR_MS,
    IMPRESSION,
    PURCHASE,
    START_MS,
    event,
    order,
    random_history,
)

SETTINGS = ProfileSettings(allowed_lateness_ms=HOUR_MS, expire_after_ms=10 * DAY_MS)


def folded(*records: Decoded) -> Fold:
    fold = Fold(SETTINGS)
    for record in records:
        fold.take(record)
    return fold


def unpacked(fold: Fold) -> np.void:
    """The packed profile as NumPy reads it."""
    profile: np.void = np.frombuffer(fold.profile.pack(), PROFILE_DTYPE)[0]
    return profile


def histories(least: int = 0, most: int = 150) -> st.SearchStrategy[list[Decoded]]:
    """Random histories of one user."""
    return st.builds(
        lambda seed, steps: list(random_history(random.Random(seed), steps)),
        st.integers(0, 2**32),
        st.integers(least, most),
    )


def test_an_event_is_applied_and_asks_for_a_list() -> None:
    fold = Fold(SETTINGS)
    assert fold.take(event("e1", "shoe", value=4.5)) == Step(Outcome.APPLIED, "list")
    profile = unpacked(fold)
    assert (profile["layout"], profile["version"], profile["history_len"]) == (1, 1, 1)
    newest = profile["history"][0]
    assert newest["item_hash"] == event("", "shoe").item_hash
    assert (newest["event_time"], newest["event_type"], newest["value"]) == (START_MS, CLICK, 4.5)
    assert profile["counts"][CLICK] == ONE


def test_a_user_of_whom_nothing_is_known() -> None:
    packed = Fold(SETTINGS).profile.pack()
    assert len(packed) == PROFILE_BYTES
    assert Counter(packed)[0] == PROFILE_BYTES - 2  # the layout, and the sign of forgotten_as_of
    assert np.frombuffer(packed, PROFILE_DTYPE)[0]["forgotten_as_of"] == -(2**63)


def test_a_second_event_of_one_id_is_a_duplicate() -> None:
    fold = folded(event("e1"))
    assert fold.take(event("e1", at=START_MS + 5)) == Step(Outcome.DUPLICATE, "none")
    assert (fold.profile.version, fold.profile.duplicates) == (1, 1)


def test_an_id_is_remembered_for_64_events() -> None:
    fold = folded(*(event(f"e{n}") for n in range(64)))
    assert fold.take(event("e0")).outcome is Outcome.DUPLICATE
    assert fold.take(event("e64")).outcome is Outcome.APPLIED
    assert fold.take(event("e0")).outcome is Outcome.APPLIED


@pytest.mark.parametrize(
    ("behind_ms", "outcome"), [(HOUR_MS, Outcome.APPLIED), (HOUR_MS + 1, Outcome.LATE)]
)
def test_late_is_more_than_the_allowed_lateness_behind_the_newest(
    behind_ms: int, outcome: Outcome
) -> None:
    fold = folded(event("e1"), event("e2", at=START_MS - 1000))
    assert fold.take(event("e3", at=START_MS - behind_ms)).outcome is outcome


def test_impressions_are_counted_and_nothing_else() -> None:
    fold = folded(event("e1"))
    assert fold.take(event("e2", event_type=IMPRESSION)) == Step(Outcome.APPLIED, "none")
    profile = fold.profile
    assert (profile.version, len(profile.history), profile.counts[IMPRESSION]) == (2, 1, ONE)


def test_equal_times_stay_in_order_of_arrival() -> None:
    fold = folded(event("e1", "a"), event("e2", "b", at=START_MS + 1), event("e3", "c"))
    items = [entry.item_hash for entry in fold.profile.history]
    assert items == [event("", name).item_hash for name in "acb"]


def test_an_event_older_than_a_full_history_is_applied_but_not_kept() -> None:
    fold = folded(*(event(f"e{n}") for n in range(HISTORY_SLOTS)))
    before = list(fold.profile.history)
    assert fold.take(event("old", at=START_MS - 1)) == Step(Outcome.APPLIED, "list")
    assert fold.profile.history == before


def test_items_that_were_bought_or_hidden_are_excluded_once() -> None:
    fold = folded(
        event("e1", "a", event_type=PURCHASE),
        event("e2", "b", event_type=HIDE),
        event("e3", "a", event_type=PURCHASE),
        event("e4", "c"),
    )
    assert fold.profile.excluded == [event("", "a").item_hash, event("", "b").item_hash]


@pytest.mark.parametrize(("gap_ms", "kept"), [(10 * DAY_MS, 2), (10 * DAY_MS + 1, 1)])
def test_after_a_long_silence_the_profile_starts_anew(gap_ms: int, kept: int) -> None:
    fold = folded(event("e1", event_type=PURCHASE), event("e2", at=START_MS + gap_ms))
    profile = fold.profile
    assert len(profile.history) == len(profile.recent) == kept
    assert len(profile.excluded) == kept - 1
    assert profile.version == 2
    assert profile.first_event_time == (START_MS if kept == 2 else START_MS + gap_ms)


def test_counts_halve_in_seven_days() -> None:
    fold = folded(event("e1"), event("e2", at=START_MS + 7 * DAY_MS))
    assert fold.profile.counts[CLICK] == ONE // 2 + ONE
    assert fold.profile.counts_time == START_MS + 7 * DAY_MS


def test_an_event_before_the_time_of_the_counts_weighs_less() -> None:
    fold = Fold(SETTINGS.model_copy(update={"allowed_lateness_ms": 30 * DAY_MS}))
    fold.take(event("e1"))
    fold.take(event("e2", at=START_MS - 14 * DAY_MS))
    assert fold.profile.counts[CLICK] == ONE + ONE // 4
    assert fold.profile.counts_time == START_MS


def test_the_decay_table_is_right_in_whole_numbers() -> None:
    """DECAY[i] <= 2^32 * 2^(-i/32) < DECAY[i] + 1, both sides to the 32nd power."""
    for i, entry in enumerate(DECAY):
        assert entry**32 <= 2 ** (32 * 32 - i) < (entry + 1) ** 32
    assert len(DECAY) == 32


@given(st.integers(0, COUNTER_MAX), st.integers(0, 2000), st.integers(0, 2000))
def test_decay_never_grows(count: int, steps: int, more: int) -> None:
    assert decay(count, steps + more) <= decay(count, steps) <= count
    assert decay(count, 0) == count
    assert decay(count, 32) == count // 2


def test_forget_leaves_a_marker_and_drops_what_came_before() -> None:
    fold = folded(event("e1"), event("e1"), order("rerank"))
    assert fold.take(order("forget", START_MS + 10)) == Step(Outcome.CONTROL, "tombstone")
    marker = Fold(SETTINGS).profile
    marker.user_epoch, marker.forgotten_as_of, marker.controls = 1, START_MS + 10, 2
    assert fold.profile == marker
    assert fold.take(event("e2", at=START_MS + 10)).outcome is Outcome.FORGOTTEN
    assert fold.take(event("e1", at=START_MS + 11)) == Step(Outcome.APPLIED, "list")


def test_forget_is_idempotent() -> None:
    fold = folded(event("e1"), order("forget"))
    assert fold.take(order("forget")) == Step(Outcome.CONTROL, "none")
    assert (fold.profile.user_epoch, fold.profile.controls) == (1, 2)


def test_rerank_asks_for_a_list_if_there_is_something_to_rank() -> None:
    assert Fold(SETTINGS).take(order("rerank")) == Step(Outcome.CONTROL, "none")
    assert folded(event("e1")).take(order("rerank")) == Step(Outcome.CONTROL, "list")


@given(histories())
def test_every_record_has_one_outcome_and_counters_say_so(records: list[Decoded]) -> None:
    records = [record for record in records if record.action != "forget"]
    fold = Fold(SETTINGS)
    outcomes = Counter(fold.take(record).outcome for record in records)
    profile = fold.profile
    assert outcomes == Counter(
        {
            Outcome.APPLIED: profile.version,
            Outcome.DUPLICATE: profile.duplicates,
            Outcome.LATE: profile.late,
            Outcome.FORGOTTEN: profile.forgotten,
            Outcome.CONTROL: profile.controls,
        }
    )


@given(histories())
def test_bounds_and_order_always_hold(records: list[Decoded]) -> None:
    fold = Fold(SETTINGS)
    for record in records:
        fold.take(record)
        profile = fold.profile
        times = [entry.event_time for entry in profile.history]
        assert all(a <= b for a, b in pairwise(times))
        assert len(times) <= 50
        assert len(profile.recent) <= 64
        assert len(set(profile.excluded)) == len(profile.excluded) <= 64
    assert len(fold.profile.pack()) == PROFILE_BYTES


@given(histories())
def test_the_digest_is_the_sum_of_the_applied_ids(records: list[Decoded]) -> None:
    fold, total = Fold(SETTINGS), 0
    for record in records:
        step = fold.take(record)
        if step.action == "tombstone":
            total = 0
        if step.outcome is Outcome.APPLIED:
            total = (total + record.event_hash) % 2**128
    low, high = (int(half) for half in unpacked(fold)["events_digest"])
    assert low + (high << 64) == total


CLEAN = [event(f"e{n}", f"i{n}", at=START_MS + n // 2) for n in range(40)]


@pytest.mark.parametrize("n", [0, 17, 39])
def test_a_lost_event_changes_digest_and_hash(n: int) -> None:
    whole, short = folded(*CLEAN), folded(*CLEAN[:n], *CLEAN[n + 1 :])
    assert whole.profile.events_digest != short.profile.events_digest
    assert profile_hash(whole.profile.pack()) != profile_hash(short.profile.pack())


@pytest.mark.parametrize("n", [0, 17, 39])
def test_a_doubled_event_changes_the_hash(n: int) -> None:
    whole, doubled = folded(*CLEAN), folded(*CLEAN[: n + 1], *CLEAN[n:])
    assert whole.profile.events_digest == doubled.profile.events_digest  # it was refused ...
    assert doubled.profile.duplicates == 1  # ... and counted
    assert profile_hash(whole.profile.pack()) != profile_hash(doubled.profile.pack())


@pytest.mark.parametrize(
    "change", [{"item_hash": 1}, {"event_time": START_MS + 9}, {"amount": 2.0}, {"event_type": 2}]
)
def test_a_changed_event_changes_the_hash(change: dict[str, Any]) -> None:
    whole, changed = folded(*CLEAN), folded(*CLEAN[:17], replace(CLEAN[17], **change), *CLEAN[18:])
    assert whole.profile.events_digest == changed.profile.events_digest
    assert profile_hash(whole.profile.pack()) != profile_hash(changed.profile.pack())


def test_another_order_of_equal_times_changes_the_hash_but_not_the_digest() -> None:
    swapped = [CLEAN[1], CLEAN[0], *CLEAN[2:]]
    assert folded(*CLEAN).profile.events_digest == folded(*swapped).profile.events_digest
    assert folded(*CLEAN).profile.pack() != folded(*swapped).profile.pack()


def test_counters_stay_at_their_maximum() -> None:
    fold = folded(event("e1"))
    fold.profile.duplicates = fold.profile.counts[CLICK] = COUNTER_MAX
    fold.take(event("e1"))
    fold.take(event("e2"))
    assert fold.profile.duplicates == fold.profile.counts[CLICK] == COUNTER_MAX


def test_profile_hash_is_xxh3_128_with_the_low_half_first() -> None:
    """The hash of no bytes is a published test vector of xxHash."""
    assert profile_hash(b"") == (0x99AA06D3014798D86001C324468D497F).to_bytes(16, "little")

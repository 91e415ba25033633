"""The Java profile and the Python fold are the same bytes after every record."""

from __future__ import annotations

import random
from collections import Counter
from copy import deepcopy
from dataclasses import replace

import pytest

from pipeline.replay.fold import COUNTER_MAX, STEP_MS, Fold, Profile
from pipeline.replay.judge import Decoded
from pipeline.sections import ProfileSettings
from schemas.profile import TYPE_SLOTS
from schemas.reasons import Outcome
from tests.replay.records import DAY_MS, HOUR_MS, START_MS, event, order, random_history
from tests.udfs.harness import Harness
from tests.udfs.requests import packed_request
from udfs.request import SOURCE_DTYPE

pytestmark = pytest.mark.real

SETTINGS = ProfileSettings(allowed_lateness_ms=HOUR_MS, expire_after_ms=10 * DAY_MS)
USERS = 30
STEPS = 800
Steps = list[tuple[Outcome, bool, bytes]]


def folded(records: list[Decoded], start: Profile | None = None) -> Steps:
    """What `Harness.profiles` must say of a user's records."""
    fold = Fold(SETTINGS)
    fold.profile = start or Profile()
    steps = []
    for record in records:
        step = fold.take(record)
        steps.append((step.outcome, step.action != "none", fold.profile.pack()))
    return steps


def in_java(harness: Harness, records: list[Decoded], start: Profile | None = None) -> Steps:
    return harness.profiles([(start or Profile()).pack(), *records], SETTINGS)


@pytest.fixture(scope="module")
def histories() -> list[list[Decoded]]:
    rng = random.Random(20260101)
    return [list(random_history(rng, STEPS)) for _ in range(USERS)]


def test_the_same_bytes_after_every_record(
    harness: Harness, histories: list[list[Decoded]]
) -> None:
    seen: Counter[Outcome] = Counter()
    for number, history in enumerate(histories):
        java = in_java(harness, history)
        python = folded(history)
        for step, (found, expected) in enumerate(zip(java, python, strict=True)):
            assert found == expected, f"user {number}, step {step}: {history[step]}"
        seen.update(outcome for outcome, *_ in java)
    assert sum(seen.values()) >= 20_000
    assert min(seen[outcome] for outcome in Outcome if outcome is not Outcome.DEAD_LETTERED) > 100


def test_numbers_at_their_bounds(harness: Harness) -> None:
    """Counters that are full, a digest about to wrap, an event type in the last slot."""
    start = Profile(
        version=2**40,
        user_epoch=2**33,
        events_digest=2**128 - 1,
        counts=[COUNTER_MAX] * TYPE_SLOTS,
        counts_time=START_MS,
        last_event_time=START_MS,
        duplicates=COUNTER_MAX,
        late=COUNTER_MAX - 1,
        forgotten=2**31 - 1,
        controls=COUNTER_MAX,
        forgotten_as_of=0,
    )
    later = START_MS + 9 * DAY_MS
    records = [
        event("a", event_type=15),
        event("a", event_type=15),
        event("b", at=START_MS - 2 * HOUR_MS),
        event("c", at=START_MS - 2 * HOUR_MS),
        event("d", at=0),
        order("rerank"),
        event("e", at=later),
        order("forget", later),
    ]
    expected = folded(records, deepcopy(start))
    assert in_java(harness, records, start) == expected


def test_times_at_the_bounds_of_each_rule(harness: Harness) -> None:
    last = START_MS + 10 * DAY_MS
    records = [
        order("forget"),
        order("forget"),  # not again
        event("a"),  # forgotten
        event("b", at=START_MS + 1),
        event("c", at=last + 1),  # 10 days of silence are not too many
        event("d", at=last + 1 - HOUR_MS),  # an hour is not too late
        event("e", at=last - HOUR_MS),
        event("f", at=last + 10 * DAY_MS + 2),
        order("forget", last + 10 * DAY_MS + 2),
    ]
    assert in_java(harness, records) == folded(records)


def test_counts_of_any_size_decay_alike_over_any_time(harness: Harness) -> None:
    rng = random.Random(4)
    patient = SETTINGS.model_copy(update={"expire_after_ms": 10_000 * DAY_MS})
    records: list[Decoded | bytes] = []
    expected = []
    for steps in range(34 * 32):
        counts = [COUNTER_MAX, *(rng.randrange(2**32) for _ in range(TYPE_SLOTS - 1))]
        fold = Fold(patient)
        fold.profile = Profile(
            version=1, counts=counts, counts_time=START_MS, last_event_time=START_MS
        )
        late = event(f"e{steps}", at=START_MS + steps * STEP_MS + rng.randrange(STEP_MS))
        records += [fold.profile.pack(), late]
        fold.take(late)
        expected.append(fold.profile.pack())
    assert [packed for *_, packed in harness.profiles(records, patient)] == expected


def test_an_emitted_profile_is_never_changed_again(
    harness: Harness, histories: list[list[Decoded]]
) -> None:
    due = [packed for _, asks, packed in folded(histories[1]) if asks]
    emitted = harness.emitted(histories[1], SETTINGS)
    assert [after_the_source(request) for request in emitted] == [
        after_the_source(packed_request(packed)) for packed in due
    ]


def after_the_source(request: bytes) -> bytes:
    """What a request holds of the profile."""
    return request[SOURCE_DTYPE.itemsize :]


def test_what_parity_would_miss_is_not_missed(
    harness: Harness, histories: list[list[Decoded]]
) -> None:
    """Negative controls: lose, double or change one applied event, and the bytes differ."""
    history = histories[0]
    expected = folded(history)
    applied = [n for n, (outcome, *_) in enumerate(expected) if outcome is Outcome.APPLIED]
    n = applied[-10]
    spoilt = {
        "lost": history[:n] + history[n + 1 :],
        "doubled": history[: n + 1] + history[n:],
        "changed": [*history[:n], replace(history[n], event_hash=1), *history[n + 1 :]],
    }
    for name, records in spoilt.items():
        assert in_java(harness, records)[-1][2] != expected[-1][2], name

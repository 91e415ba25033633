"""The reference verdict on records; ``tests/udfs/test_decoder.py`` holds Java to it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from pipeline.replay.judge import Decoded, judge
from pipeline.sections import DecodeSettings
from schemas.codec import encode
from schemas.reasons import Reason
from tests.replay.records import DECODED_EVENT, START_MS, WIRE_EVENT, ladder

LIMITS = DecodeSettings()


def judge_event(**changes: object) -> Decoded | Reason:
    """The verdict on `WIRE_EVENT` with some fields changed, under its own key."""
    record = {**WIRE_EVENT, **changes}
    return judge(encode("user_event", record), str(record["user_id"]).encode(), START_MS, LIMITS)


def judge_order(**changes: object) -> Decoded | Reason:
    record = {"control_id": "c1", "user_id": "u1", "action": "forget", "as_of": START_MS}
    value = encode("control", {**record, **changes})
    return judge(value, b"u1", START_MS, LIMITS, "control")


def test_a_good_event_gives_its_numbers() -> None:
    assert judge_event() == DECODED_EVENT


def test_a_good_order_gives_its_numbers() -> None:
    order_hash = xxhash.xxh3_128_intdigest(b"c1")
    assert judge_order() == Decoded("u1", "forget", order_hash, 0, 0, START_MS, 0.0)
    assert judge_order(action="unknown") is Reason.UNKNOWN_ACTION


def test_an_event_without_value_has_the_value_0() -> None:
    assert judge_event(value=None) == replace(DECODED_EVENT, amount=0.0)


@pytest.mark.parametrize(("value", "key", "reason"), ladder())
def test_the_first_check_that_fails_gives_the_reason(
    value: bytes | None, key: bytes | None, reason: Reason
) -> None:
    assert judge(value, key, START_MS, LIMITS) is reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"item_id": "x" * 129}, Reason.ID_TOO_LONG),
        ({"item_id": "é" * 65}, Reason.ID_TOO_LONG),
        ({"event_id": ""}, Reason.BAD_ID),
        ({"user_id": "a\nb"}, Reason.BAD_ID),
        ({"item_id": "\x7f"}, Reason.BAD_ID),
        ({"event_time": START_MS + 300_001}, Reason.TIMESTAMP_OUT_OF_RANGE),
        ({"event_time": LIMITS.min_event_time_ms - 1}, Reason.TIMESTAMP_OUT_OF_RANGE),
        ({"value": float("nan")}, Reason.NON_FINITE),
        ({"value": 1e39}, Reason.NON_FINITE),
        ({"propensity": float("inf")}, Reason.NON_FINITE),
    ],
)
def test_what_a_field_may_not_hold(changes: dict[str, object], reason: Reason) -> None:
    assert judge_event(**changes) is reason


@pytest.mark.parametrize(
    "changes",
    [
        {"item_id": "x" * 128},
        {"item_id": "é" * 64},
        {"event_time": START_MS + 300_000},
        {"event_time": LIMITS.min_event_time_ms},
        {"value": 3.4e38},
        {"propensity": 1e300},
        {"session_id": ""},
    ],
)
def test_what_a_field_may_just_hold(changes: dict[str, object]) -> None:
    assert isinstance(judge_event(**changes), Decoded)


@given(st.binary(max_size=200), st.none() | st.binary(max_size=5), st.booleans())
def test_noise_is_judged_without_an_exception(
    noise: bytes, key: bytes | None, headed: bool
) -> None:
    value = encode("user_event", WIRE_EVENT)[:10] + noise if headed else noise
    assert isinstance(judge(value, key, START_MS, LIMITS), (Reason, Decoded))

"""The Java decoder and the Python judge agree on every record, good or hostile."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import xxhash

from pipeline.replay.judge import Decoded, judge
from pipeline.sections import DecodeSettings
from schemas.codec import encode, header
from schemas.reasons import Outcome, Reason
from tests.replay.records import START_MS
from tests.udfs.harness import Case, Harness, Verdict
from tests.udfs.hostile import append, cases, claim_a_length, swell

pytestmark = pytest.mark.real

LIMITS = DecodeSettings()
CASES = 120_000
EVENT = {
    "event_id": "abc",
    "user_id": "u1",
    "item_id": "abc",
    "event_type": "purchase",
    "event_time": START_MS,
    "value": 4.5,
}


def judged(case: Case, limits: DecodeSettings = LIMITS) -> Decoded | Reason:
    return judge(case.value, case.key, case.timestamp_ms, limits, case.schema)


@pytest.fixture(scope="module")
def fuzz(harness: Harness) -> list[tuple[Case, Verdict]]:
    """Random records and Java's verdicts on them."""
    records = list(cases(random.Random(20260101), CASES))
    return list(zip(records, harness.decode(records, LIMITS), strict=True))


def test_a_good_event_gives_its_numbers(harness: Harness) -> None:
    value = encode("user_event", EVENT)
    (verdict,) = harness.decode([Case("user_event", value, b"u1", START_MS)], LIMITS)
    assert verdict.content == Decoded(
        user_id="u1",
        action="event",
        event_hash=0x06B05AB6733A618578AF5F94892F3950,
        item_hash=0x78AF5F94892F3950,
        event_type=5,
        event_time=START_MS,
        amount=4.5,
    )


def test_java_and_python_agree_on_every_record(fuzz: list[tuple[Case, Verdict]]) -> None:
    for case, verdict in fuzz:
        # By their text, in which 0.0 and -0.0 are two.
        assert repr(verdict.content) == repr(judged(case)), case


def test_ids_of_every_length_have_the_hashes_of_the_c_library(harness: Harness) -> None:
    ids = [("0123456789abcdef" * 8)[:length] for length in range(1, 129)]
    values = [encode("user_event", {**EVENT, "event_id": name, "item_id": name}) for name in ids]
    verdicts = harness.decode([Case("user_event", v, b"u1", START_MS) for v in values], LIMITS)
    for name, verdict in zip(ids, verdicts, strict=True):
        assert isinstance(verdict.content, Decoded)
        assert verdict.content.item_hash == xxhash.xxh3_64_intdigest(name.encode())
        assert verdict.content.event_hash == xxhash.xxh3_128_intdigest(name.encode())


def test_the_records_reach_every_verdict(fuzz: list[tuple[Case, Verdict]]) -> None:
    seen = Counter(
        verdict.content if isinstance(verdict.content, Reason) else verdict.content.action
        for _, verdict in fuzz
    )
    assert set(seen) == {*Reason, "event", "forget", "rerank"} - {Reason.OVERSIZE}
    assert min(seen.values()) >= 100, seen


def test_messages_are_short_and_hold_nothing_of_the_record(
    fuzz: list[tuple[Case, Verdict]],
) -> None:
    for case, verdict in fuzz:
        bad = isinstance(verdict.content, Reason)
        assert bad == bool(verdict.message), case
        assert len(verdict.message) <= 120
        assert verdict.message.isascii()


def test_other_limits_give_other_verdicts(fuzz: list[tuple[Case, Verdict]]) -> None:
    """The negative control of the comparison above."""
    strict = LIMITS.model_copy(update={"max_ahead_ms": 0})
    assert any(verdict.content != judged(case, strict) for case, verdict in fuzz[:2000])


def test_a_value_above_the_limit_is_not_looked_at(harness: Harness) -> None:
    rng = random.Random(1)
    values = [swell(rng, encode("user_event", EVENT)) for _ in range(20)]
    records = [Case("user_event", value, b"u1", START_MS) for value in values]
    found = {verdict.content for verdict in harness.decode(records, LIMITS)}
    assert found == {Reason.OVERSIZE, Reason.TRAILING_BYTES}  # 65,537 and 65,536 bytes
    assert {judged(record) for record in records} == found


def test_a_string_takes_no_more_memory_than_the_record_is_long(harness: Harness) -> None:
    """Twenty bytes that claim a string of 2 GB, in a Java of 256 MB."""
    rng = random.Random(2)
    value = encode("user_event", EVENT)
    records = [Case("user_event", claim_a_length(rng, value), b"u1", START_MS) for _ in range(50)]
    assert {v.content for v in harness.decode(records, LIMITS)} == {Reason.AVRO_DECODE_FAILED}


def test_checks_run_in_the_order_of_the_contract(harness: Harness) -> None:
    """A record with many faults gets the reason of the first check."""
    rng = random.Random(3)
    faulty = encode("user_event", {**EVENT, "item_id": "", "event_time": 0})
    longer = append(rng, faulty)
    ladder = [
        (None, None, Reason.NULL_VALUE),
        (longer + bytes(65_536), None, Reason.OVERSIZE),
        (b"\x00" + longer, None, Reason.INVALID_MAGIC_BYTE),
        (header("control")[:9] + b"?" + longer, None, Reason.UNKNOWN_SCHEMA),
        (faulty[:-1], None, Reason.AVRO_DECODE_FAILED),
        (longer, None, Reason.TRAILING_BYTES),
        (faulty[:-1] + b"\x80\x00", None, Reason.NOT_CANONICAL),
        (faulty, None, Reason.MISSING_KEY),
        (faulty, b"u2", Reason.KEY_MISMATCH),
        (faulty, b"u1", Reason.BAD_ID),
        (encode("user_event", {**EVENT, "event_time": 0}), b"u1", Reason.TIMESTAMP_OUT_OF_RANGE),
    ]
    records = [Case("user_event", value, key, START_MS) for value, key, _ in ladder]
    expected = [reason for *_, reason in ladder]
    assert [verdict.content for verdict in harness.decode(records, LIMITS)] == expected
    assert [judged(record) for record in records] == expected


def test_java_and_python_have_the_same_names(harness: Harness) -> None:
    reasons = [reason.value for reason in Reason]
    outcomes = [outcome.value for outcome in Outcome if outcome is not Outcome.DEAD_LETTERED]
    assert harness.names == reasons + outcomes

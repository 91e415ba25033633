"""The Java decoder and the Python judge agree on every record, good or hostile."""

from __future__ import annotations

import json
import random
from collections import Counter
from copy import deepcopy
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
import xxhash

from pipeline.replay.judge import Decoded, judge
from pipeline.sections import DecodeSettings
from schemas.codec import encode
from schemas.reasons import Outcome, Reason
from schemas.schema import FOLDER, Schema
from tests.replay.records import DECODED_EVENT, START_MS, WIRE_EVENT, ladder
from tests.udfs.harness import Case, Harness, Verdict
from tests.udfs.hostile import cases, claim_a_length, swell

pytestmark = pytest.mark.real

LIMITS = DecodeSettings()
CASES = 120_000


def judged(case: Case, limits: DecodeSettings = LIMITS) -> Decoded | Reason:
    return judge(case.value, case.key, case.timestamp_ms, limits, case.schema)


@pytest.fixture(scope="module")
def fuzz(harness: Harness) -> list[tuple[Case, Verdict]]:
    """Random records and Java's verdicts on them."""
    records = list(cases(random.Random(20260101), CASES))
    return list(zip(records, harness.decode(records, LIMITS), strict=True))


def test_a_good_event_gives_its_numbers(harness: Harness) -> None:
    case = Case("user_event", encode("user_event", WIRE_EVENT), b"u1", START_MS)
    assert harness.decode([case], LIMITS) == [Verdict(DECODED_EVENT, "")]


def test_java_and_python_agree_on_every_record(fuzz: list[tuple[Case, Verdict]]) -> None:
    for case, verdict in fuzz:
        # By their text, in which 0.0 and -0.0 are two.
        assert repr(verdict.content) == repr(judged(case)), case


def test_ids_of_every_length_have_the_hashes_of_the_c_library(harness: Harness) -> None:
    ids = [("0123456789abcdef" * 8)[:length] for length in range(1, 129)]
    values = [
        encode("user_event", {**WIRE_EVENT, "event_id": name, "item_id": name}) for name in ids
    ]
    records = [Case("user_event", value, b"u1", START_MS) for value in values]
    for name, verdict in zip(ids, harness.decode(records, LIMITS), strict=True):
        assert isinstance(verdict.content, Decoded)
        assert verdict.content.item_hash == xxhash.xxh3_64_intdigest(name.encode())
        assert verdict.content.event_hash == xxhash.xxh3_128_intdigest(name.encode())


def test_the_records_reach_every_verdict(fuzz: list[tuple[Case, Verdict]]) -> None:
    seen = Counter(
        verdict.content if isinstance(verdict.content, Reason) else verdict.content.action
        for _, verdict in fuzz
    )
    # These have tests of their own.
    never = {Reason.OVERSIZE, Reason.INCOMPATIBLE_SCHEMA, Reason.QUARANTINED}
    assert set(seen) == {*Reason, "event", "forget", "rerank"} - never
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
    values = [swell(rng, encode("user_event", WIRE_EVENT)) for _ in range(20)]
    records = [Case("user_event", value, b"u1", START_MS) for value in values]
    found = {verdict.content for verdict in harness.decode(records, LIMITS)}
    assert found == {Reason.OVERSIZE, Reason.TRAILING_BYTES}  # 65,537 and 65,536 bytes
    assert {judged(record) for record in records} == found


def test_a_string_takes_no_more_memory_than_the_record_is_long(harness: Harness) -> None:
    """Twenty bytes that claim a string of 2 GB, in a Java of 256 MB."""
    rng = random.Random(2)
    value = encode("user_event", WIRE_EVENT)
    records = [Case("user_event", claim_a_length(rng, value), b"u1", START_MS) for _ in range(50)]
    assert {v.content for v in harness.decode(records, LIMITS)} == {Reason.AVRO_DECODE_FAILED}


def test_checks_run_in_the_order_of_the_contract(harness: Harness) -> None:
    records = [Case("user_event", value, key, START_MS) for value, key, _ in ladder()]
    verdicts = harness.decode(records, LIMITS)
    assert [verdict.content for verdict in verdicts] == [reason for *_, reason in ladder()]


def test_any_version_is_read_as_the_newest(harness: Harness, tmp_path: Path) -> None:
    """And as an older one, by a job that was rolled back: its new symbol becomes unknown."""
    first = json.loads((FOLDER / "user_event.v1.avsc").read_text())
    second = second_version(first)
    files = [tmp_path / "v1.avsc", tmp_path / "v2.avsc"]
    for file, schema in zip(files, (first, second), strict=True):
        file.write_text(json.dumps(schema))
    wishes = {**WIRE_EVENT, "event_type": "wish", "device": "phone"}
    records = [
        Case("user_event", written(schema, record), b"u1", START_MS)
        for schema, record in ((first, WIRE_EVENT), (second, WIRE_EVENT), (second, wishes))
    ]
    wish = replace(DECODED_EVENT, event_type=12)
    unknown = replace(DECODED_EVENT, event_type=0)
    newer = [verdict.content for verdict in harness.decode(records, LIMITS, *files)]
    older = [verdict.content for verdict in harness.decode(records, LIMITS, *reversed(files))]
    assert newer == [DECODED_EVENT, DECODED_EVENT, wish]
    assert older == [DECODED_EVENT, DECODED_EVENT, unknown]


def second_version(first: dict[str, Any]) -> dict[str, Any]:
    """A field more at the front, one less, another order, a wider number, a new symbol."""
    second = deepcopy(first)
    fields = {field["name"]: field for field in second["fields"]}
    fields["event_type"]["type"]["symbols"].append("wish")
    fields["position"]["type"] = ["null", "long"]
    del fields["surface"]
    device = {"name": "device", "type": "string", "default": ""}
    return {**second, "fields": [device, *reversed(fields.values())]}


def written(schema: dict[str, Any], record: dict[str, object]) -> bytes:
    parsed = Schema.parse("user_event", 2, json.dumps(schema))
    buffer = BytesIO()
    fastavro.schemaless_writer(buffer, parsed.parsed, record)
    return parsed.header + buffer.getvalue()


def test_java_and_python_have_the_same_names(harness: Harness) -> None:
    reasons = [reason.value for reason in Reason]
    outcomes = [outcome.value for outcome in Outcome if outcome is not Outcome.DEAD_LETTERED]
    assert harness.names == reasons + outcomes

"""The Java decoder with a real registry: both framings, other producers' schemas, and trouble."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Settings, with_values
from pipeline.framing import encoder, job_parameters
from pipeline.replay.judge import ById, judge
from pipeline.schemas import register
from pipeline.sections import DecodeSettings
from schemas import codec
from schemas.reasons import Reason
from schemas.schema import Schema
from tests.registry.producer import (
    OURS,
    changed,
    evolved,
    registered,
    settings_of,
    with_field,
    written,
)
from tests.registry.proxy import Fault, Proxy
from tests.replay.records import DECODED_EVENT, START_MS, WIRE_EVENT
from tests.udfs.harness import Case, Harness, Verdict
from tests.udfs.hostile import cases

pytestmark = pytest.mark.real

LIMITS = DecodeSettings()
RECORD: dict[str, object] = {**dict.fromkeys(f["name"] for f in OURS["fields"]), **WIRE_EVENT}
LINKED = {
    "type": "record",
    "name": "Linked",
    "fields": [{"name": "next", "type": ["null", "Linked"], "default": None}],
}
UNKNOWN = 900_000
"""Ids from here on are nobody's."""


def case(value: bytes) -> Case:
    return Case("user_event", value, b"u1", START_MS)


def of_id(schema_id: int) -> Case:
    return case(written(schema_id, OURS, RECORD))


def elsewhere(settings: Settings) -> Settings:
    """With another subject than the one that a task fetches when it opens."""
    return with_values(settings, {"kafka.events_topic": f"{settings.kafka.events_topic}-b"})


def verdicts(
    harness: Harness, settings: Settings, *records: Case, at_ms: int = 0
) -> list[Verdict | str]:
    told = job_parameters(settings)
    return harness.decode_with_registry([(at_ms, one) for one in records], LIMITS, told)


def contents(found: list[Verdict | str]) -> list[Any]:
    return [one.content if isinstance(one, Verdict) else one for one in found]


def test_both_framings_are_read_in_one_topic(harness: Harness, settings: Settings) -> None:
    register(settings)
    confluent = with_values(settings, {"registry.framing": "confluent"})
    framed = [encoder(s, "user_event").encode(WIRE_EVENT) for s in (settings, confluent)]
    assert [value[0] for value in framed] == [0xC3, 0]
    order = {"control_id": "c", "user_id": "u1", "action": "forget", "as_of": START_MS}
    forget = Case("control", encoder(confluent, "control").encode(order), b"u1", START_MS)
    *events, ordered = contents(verdicts(harness, settings, *map(case, framed), forget))
    assert events == [DECODED_EVENT, DECODED_EVENT]
    assert ordered.action == "forget"


def test_without_registry_confluent_framing_is_a_dead_letter(harness: Harness) -> None:
    """The negative control of the test above."""
    [found] = harness.decode([of_id(1)], LIMITS)
    assert found.content == Reason.INVALID_MAGIC_BYTE


def test_an_evolved_schema_is_read_as_ours(
    harness: Harness, settings: Settings, proxy: Proxy
) -> None:
    """A schema under another subject than the topic's is asked for, once."""
    schema_id = registered(settings, evolved())
    foreign = registered(elsewhere(settings), {**OURS, "doc": "registered elsewhere"})
    record = {**RECORD, "device": "phone"}
    wishes = {**record, "event_type": "wish"}
    values = [written(schema_id, evolved(), one) for one in (record, wishes)]
    found = verdicts(harness, settings, *map(case, values), *[of_id(foreign)] * 3)
    unknown_type = replace(DECODED_EVENT, event_type=0)
    assert contents(found) == [DECODED_EVENT, unknown_type, *[DECODED_EVENT] * 3]
    assert proxy.lookups() == [foreign]


NOT_AS_OURS: list[tuple[dict[str, Any], str]] = [
    (changed("event_time", type="string"), "TYPE_MISMATCH at /fields/"),
    (changed("item_id", name="product_id"), "READER_FIELD_MISSING_DEFAULT_VALUE at /fields/2"),
    ({**OURS, "name": "Order"}, "NAME_MISMATCH at /name"),
    (
        changed("event_time", type={"type": "long", "logicalType": "timestamp-micros"}),
        "the logical type of event_time is another",
    ),
    (with_field({"type": "array", "items": "null"}, []), "parts of no bytes"),
    (with_field({"type": "bytes", "logicalType": "decimal", "precision": 4}, ""), "a decimal"),
    (with_field(["null", LINKED], None), "recursion"),
]


def test_a_schema_that_is_not_as_ours_is_a_dead_letter(
    harness: Harness, settings: Settings
) -> None:
    """Whether it was there when the task opened, or is met later under another subject."""
    foreign, reasons = elsewhere(settings), [why for _, why in NOT_AS_OURS] * 2
    known = [registered(settings, schema) for schema, _ in NOT_AS_OURS]
    met = [registered(foreign, {**schema, "doc": "another id"}) for schema, _ in NOT_AS_OURS]
    found = verdicts(harness, settings, *map(of_id, known + met))
    assert contents(found) == [Reason.INCOMPATIBLE_SCHEMA] * len(reasons)
    for one, why in zip(found, reasons, strict=True):
        assert isinstance(one, Verdict)
        assert why in one.message
        assert len(one.message) <= 120


def test_java_and_python_agree_on_hostile_records_in_confluents_framing(
    harness: Harness, settings: Settings
) -> None:
    """Strings, numbers, order of checks, canonical form: all as in the other framing."""
    ours, theirs = registered(settings, OURS), registered(settings, evolved())
    bad = registered(settings, with_field("null", None) | {"name": "Other"})
    by_id: ById = {
        ours: codec.load("user_event"),
        theirs: Schema.parse("user_event", theirs, json.dumps(evolved())),
        bad: None,
    }
    rng = random.Random(20260102)
    heads = [codec.confluent_header(i) for i in (ours, ours, ours, theirs, bad, UNKNOWN, 2**32 - 1)]
    start = codec.header("user_event")
    records = [
        replace(one, value=rng.choice(heads) + one.value[len(start) :])
        for one in cases(rng, 12_000)
        if one.schema == "user_event" and one.value and one.value.startswith(start)
    ]
    found = verdicts(harness, settings, *records)
    for one, verdict in zip(records, found, strict=True):
        assert isinstance(verdict, Verdict), verdict
        expected = judge(one.value, one.key, one.timestamp_ms, LIMITS, one.schema, by_id)
        assert repr(verdict.content) == repr(expected), one
    reasons = {one for one in contents(found) if isinstance(one, Reason)}
    assert reasons >= {
        *(Reason.UNKNOWN_SCHEMA, Reason.INCOMPATIBLE_SCHEMA, Reason.AVRO_DECODE_FAILED),
        *(Reason.TRAILING_BYTES, Reason.NOT_CANONICAL, Reason.KEY_MISMATCH, Reason.BAD_ID),
    }
    without = judge(records[0].value, b"u1", START_MS, LIMITS)
    assert without == Reason.INVALID_MAGIC_BYTE  # the control: it is the registry that counts


class TestUnknownIds:
    def test_are_dead_letters_and_asked_for_once_in_a_while(
        self, harness: Harness, settings: Settings, proxy: Proxy
    ) -> None:
        told = job_parameters(settings)
        times_ms = [0, 0, 9_999, 10_000, 10_001]
        records = [(at_ms, of_id(UNKNOWN)) for at_ms in times_ms]
        # No registry has such an id, and the last value is too short to hold one.
        records += [(0, of_id(2**31)), (0, case(b"\x00\x00\x00"))]
        *found, short = harness.decode_with_registry(records, LIMITS, told)
        for one, schema_id in zip(found, [UNKNOWN] * len(times_ms) + [2**31], strict=True):
            message = f"the registry knows no schema {schema_id}"
            assert one == Verdict(Reason.UNKNOWN_SCHEMA, message)
        assert contents([short]) == [Reason.INVALID_MAGIC_BYTE]
        assert proxy.lookups() == [UNKNOWN] * 2  # at 0 and at 10 s

    def test_beyond_the_budget_are_not_asked_for(
        self, harness: Harness, settings: Settings, proxy: Proxy
    ) -> None:
        ours = registered(settings, OURS)
        flood = [(0, of_id(UNKNOWN + n)) for n in range(500)]
        later = [(3_000, of_id(UNKNOWN + 1_000 + n)) for n in range(500)]
        records = [*flood, (0, of_id(ours)), *later]
        found = harness.decode_with_registry(records, LIMITS, job_parameters(settings))
        assert len(proxy.lookups()) == 60 + 3
        assert set(contents(found[:500] + found[501:])) == {Reason.UNKNOWN_SCHEMA}
        assert contents([found[500]]) == [DECODED_EVENT]  # known since the task opened
        refused = found[499]
        assert isinstance(refused, Verdict)
        assert refused.message == f"too many unknown ids: not asked for schema {UNKNOWN + 499}"


def failing(proxy: Proxy, settings: Settings, *faults: list[Fault]) -> list[int]:
    """New ids whose look-ups meet these faults, and then none."""
    left = {
        registered(elsewhere(settings), {**OURS, "doc": f"number {number}"}): list(of_one)
        for number, of_one in enumerate(faults)
    }

    def fault(path: str) -> Fault:
        schema_id = int(path.rsplit("/", 1)[1]) if path.startswith("/schemas/ids/") else 0
        return left[schema_id].pop(0) if left.get(schema_id) else ""

    proxy.fault = fault
    return list(left)


def impatient(settings: Settings) -> Settings:
    return with_values(settings, {"registry.answer_ms": 1_500})


class TestTrouble:
    def test_a_registry_that_comes_back_in_time_costs_nothing(
        self, harness: Harness, settings: Settings, proxy: Proxy
    ) -> None:
        faults: list[list[Fault]] = [["503"] * 2, ["429"] * 2, ["cut"] * 2, ["hang"], ["html"] * 2]
        ids = failing(proxy, settings, *faults)
        found = contents(verdicts(harness, impatient(settings), *map(of_id, ids)))
        assert found == [DECODED_EVENT] * len(ids)
        asked = [len(of_one) + 1 for of_one in faults]
        assert [proxy.lookups().count(schema_id) for schema_id in ids] == asked

    def test_a_registry_that_is_down_fails_the_task_and_gives_no_verdict(
        self, harness: Harness, settings: Settings, proxy: Proxy
    ) -> None:
        """The same record is read when it is back. Other servers' pages are no verdict, either."""
        faults: list[list[Fault]] = [["503"] * 3, ["hang"] * 3, ["html"] * 3, ["404"], ["302"]]
        ids = failing(proxy, settings, *faults)
        twice = [of_id(one) for one in ids for _ in range(2)]
        found = verdicts(harness, impatient(settings), *twice)
        for message in found[::2]:
            assert isinstance(message, str)
            assert message.startswith(f"expected an answer of the schema registry at {proxy.url}")
        assert contents(found[1::2]) == [DECODED_EVENT] * len(ids)
        asked = [len(of_one) + 1 for of_one in faults]
        assert [proxy.lookups().count(schema_id) for schema_id in ids] == asked

    def test_a_task_does_not_open_without_it(self, harness: Harness, settings: Settings) -> None:
        nobody = with_values(settings, {"registry.url": "http://127.0.0.1:1"})
        with pytest.raises(AssertionError, match=r"3 times no good answer.*Connection refused"):
            verdicts(harness, nobody, of_id(1))


class TestLogin:
    def test_is_read_where_the_task_runs(
        self, harness: Harness, settings: Settings, proxy: Proxy, tmp_path: Path
    ) -> None:
        proxy.login = "reader:s3cret-canary"
        file = tmp_path / "password"
        file.write_text("s3cret-canary\n")
        login = {"registry.username": "reader", "registry.password": f"${{file:{file}}}"}
        own = settings_of(proxy.url, settings.kafka.events_topic, **login)
        told = job_parameters(own)
        assert told["registry.password"] == f"${{file:{file}}}"
        assert "s3cret-canary" not in repr(told)
        schema_id = registered(own, OURS)
        assert contents(verdicts(harness, own, of_id(schema_id))) == [DECODED_EVENT]

    def test_that_is_wrong_fails_the_task_at_once(
        self, harness: Harness, settings: Settings, proxy: Proxy
    ) -> None:
        proxy.login = "reader:s3cret-canary"
        with pytest.raises(AssertionError, match="received status 401"):
            verdicts(harness, settings, of_id(1))
        assert len(proxy.seen) == 1

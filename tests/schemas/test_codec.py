"""Records to bytes and back, and every way in which bytes are refused."""

from __future__ import annotations

import json
import math
import struct
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas import codec
from schemas.codec import Decoder, Encoder, decode, encode, header
from schemas.errors import CodecError
from schemas.reasons import Reason
from schemas.schema import Schema, load

EVENT = {
    "event_id": "e-1",
    "user_id": "ümit",
    "item_id": "i-1",
    "event_type": "click",
    "event_time": 1_659_304_800_025,
    "value": 2.5,
    "session_id": None,
    "surface": "home",
    "position": 3,
    "request_id": None,
    "propensity": None,
}
LIST = {
    "engine": "shop@1",
    "engine_digest": bytes(32),
    "engine_seq": 4,
    "runtime": bytes(8),
    "job_epoch": 1_700_000_000_000,
    "degrade_level": 0,
    "user_id": "u-1",
    "user_epoch": 0,
    "version": 17,
    "cause": "event",
    "source_partition": 3,
    "source_offset": 99,
    "event_time": 1_659_304_800_025,
    "generated_at": 1_659_304_800_030,
    "events_digest": bytes(range(16)),
    "profile_hash": bytes(range(16)),
    "items": [{"item_id": "i-1", "score": 0.5, "reason": "popularity"}],
}
ORDER = {"control_id": "c-1", "user_id": "u-1", "action": "forget", "as_of": 1_659_304_800_025}
RECORDS = {"user_event": EVENT, "recommendation_list": LIST, "control": ORDER}

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
longs = st.integers(-(2**63), 2**63 - 1)
events = st.fixed_dictionaries(
    {
        "event_id": text,
        "user_id": text,
        "item_id": text,
        "event_type": st.sampled_from(["unknown", "view", "share"]),
        "event_time": longs,
        "value": st.none() | st.floats(allow_nan=False),
        "session_id": st.none() | text,
        "surface": st.none() | text,
        "position": st.none() | st.integers(-(2**31), 2**31 - 1),
        "request_id": st.none() | text,
        "propensity": st.none() | st.floats(allow_nan=False),
    }
)


def refused(name: str, data: bytes, reason: Reason) -> CodecError:
    with pytest.raises(CodecError) as error:
        decode(name, data)
    assert error.value.reason is reason
    assert error.value.expected
    assert error.value.received
    assert error.value.fix
    return error.value


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_comes_back_as_it_was(name: str) -> None:
    data = encode(name, RECORDS[name])
    assert data[:10] == header(name)
    assert decode(name, data) == RECORDS[name]


def test_a_whole_message_byte_for_byte() -> None:
    """The bytes that Apache Avro for Java writes for the same record."""
    record = {
        "event_id": "e",
        "user_id": "u",
        "item_id": "i",
        "event_type": "click",
        "event_time": 5,
    }
    body = "02 65 02 75 02 69 06 0a 00 00 00 00 00 00"
    assert encode("user_event", record).hex(" ") == "c3 01 fd ee 5b 34 eb 61 81 2b " + body


@given(events)
def test_every_event_comes_back_as_it_was(event: dict[str, Any]) -> None:
    assert decode("user_event", Encoder("user_event").encode(event)) == event


def test_times_are_integers_and_floats_are_rounded_to_32_bits() -> None:
    items = [{"item_id": "i", "score": 0.1, "reason": "r"}]
    back = decode("recommendation_list", encode("recommendation_list", LIST | {"items": items}))
    assert type(back["event_time"]) is int
    assert back["items"][0]["score"] == struct.unpack("<f", struct.pack("<f", 0.1))[0] != 0.1


def test_numbers_that_are_none_pass_here_and_are_judged_later() -> None:
    assert math.isnan(
        decode("user_event", encode("user_event", EVENT | {"value": math.nan}))["value"]
    )


def test_missing_optional_fields_take_their_default() -> None:
    short = {name: EVENT[name] for name in list(EVENT)[:5]}
    assert decode("user_event", encode("user_event", short)) == short | dict.fromkeys(
        list(EVENT)[5:]
    )


@pytest.mark.parametrize(
    ("change", "received"),
    [
        ({"sesion_id": "s"}, "sesion_id"),
        ({"event_id": None}, "event_id"),
        ({"event_time": "now"}, "event_time"),
        ({"event_time": 2**63}, "too large"),
        ({"event_type": "stare"}, "stare"),
        ({"value": "1"}, "value"),
        ({"position": 2**31}, "position"),
        ({"user_id": "\ud800"}, "surrogates"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(change: dict[str, Any], received: str) -> None:
    with pytest.raises(CodecError, match="cannot encode a user_event") as error:
        encode("user_event", EVENT | change)
    assert received in error.value.received
    assert error.value.reason is None


def test_a_missing_required_field_is_refused() -> None:
    with pytest.raises(CodecError, match="user_id"):
        encode("user_event", {name: value for name, value in EVENT.items() if name != "user_id"})


def test_a_digest_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(CodecError, match="EngineDigest"):
        encode("recommendation_list", LIST | {"engine_digest": bytes(31)})


@pytest.mark.parametrize("data", [b"", b"\xc3", b"\xc3\x01\xfd\xee", b"{}" * 20, b"\x00" * 20])
def test_what_is_not_single_object_encoding(data: bytes) -> None:
    error = refused("user_event", data, Reason.INVALID_MAGIC_BYTE)
    assert "c3 01" in error.expected


def test_an_unknown_fingerprint() -> None:
    error = refused("user_event", encode("control", ORDER), Reason.UNKNOWN_SCHEMA)
    assert error.expected == header("user_event").hex(" ")
    assert error.received == header("control").hex(" ")


@pytest.mark.parametrize("name", RECORDS)
def test_no_proper_prefix_is_a_record(name: str) -> None:
    data = encode(name, RECORDS[name])
    for size in range(10, len(data)):
        refused(name, data[:size], Reason.AVRO_DECODE_FAILED)


@pytest.mark.parametrize("name", RECORDS)
def test_nothing_may_follow(name: str) -> None:
    refused(name, encode(name, RECORDS[name]) + b"\0", Reason.TRAILING_BYTES)


def test_malformed_utf_8() -> None:
    data = encode("control", ORDER).replace(b"u-1", b"u\xff1")
    refused("control", data, Reason.AVRO_DECODE_FAILED)


@pytest.mark.parametrize(
    ("canonical", "other"),
    [
        (b"\x06u-1", b"\x86\x00u-1"),  # the length of a string with a byte too many
        (b"\x06u-1\x02", b"\x06u-1\x05"),  # enum index -3, which Python would count from the end
    ],
)
def test_only_the_canonical_encoding_counts(canonical: bytes, other: bytes) -> None:
    data = encode("control", ORDER)
    assert data.count(canonical) == 1
    mangled = data.replace(canonical, other)
    refused("control", mangled, Reason.NOT_CANONICAL)
    assert decode("control", mangled, canonical=False)["user_id"] == "u-1"


@given(st.binary(max_size=200))
@example(b"\xff" * 9 + b"\x01" * 10)
def test_random_bytes_raise_nothing_but_codec_errors(body: bytes) -> None:
    for name in RECORDS:
        try:
            record = decode(name, header(name) + body)
        except CodecError:
            continue
        assert encode(name, record) == header(name) + body


@given(st.sampled_from(sorted(RECORDS)), st.data())
def test_a_changed_byte_is_refused_or_gives_another_record(name: str, data: st.DataObject) -> None:
    good = encode(name, RECORDS[name])
    at = data.draw(st.integers(0, len(good) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != good[at]))
    try:
        record = decode(name, good[:at] + bytes([byte]) + good[at + 1 :])
    except CodecError:
        return
    assert record != RECORDS[name]


def grown() -> Schema:
    """user_event as it may be one day: a field less, a field more, a type more."""
    source = json.loads(json.dumps(load("user_event", 1).source))
    source["fields"] = [field for field in source["fields"] if field["name"] != "surface"]
    source["fields"].append({"name": "country", "type": ["null", "string"], "default": None})
    source["fields"][3]["type"]["symbols"].append("wish")
    return Schema.parse("user_event", 2, json.dumps(source))


def written(schema: Schema, record: dict[str, Any]) -> bytes:
    buffer = BytesIO(schema.header)
    buffer.seek(10)
    fastavro.schemaless_writer(buffer, schema.parsed, record)
    return buffer.getvalue()


def test_every_version_reads_into_the_newest() -> None:
    old, new = load("user_event", 1), grown()
    both = Decoder([old, new])
    expected = {k: v for k, v in EVENT.items() if k != "surface"} | {"country": None}
    assert both.decode(written(old, EVENT)) == expected
    wish = expected | {"country": "TR", "event_type": "wish"}
    assert both.decode(written(new, wish)) == wish


def test_an_old_reader_takes_a_new_symbol_as_unknown() -> None:
    old, new = load("user_event", 1), grown()
    wish = {k: v for k, v in EVENT.items() if k != "surface"} | {"event_type": "wish"}
    back = Decoder([new, old]).decode(written(new, wish))
    assert back == EVENT | {"event_type": "unknown", "surface": None}


def test_the_lasting_names_of_the_module() -> None:
    assert {"load", "encode", "decode", "header", "Encoder"} <= set(codec.__all__)

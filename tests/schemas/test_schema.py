"""Which schemas there are, and the fingerprints that stand for them on the wire."""

from __future__ import annotations

import json

import avro.schema
import pytest
from fastavro.schema import fingerprint

from schemas.errors import SchemaError
from schemas.schema import Schema, load, names, versions

# What Apache Avro for Java 1.12 writes in front of such records. A kept version never changes.
HEADERS = {
    ("control", 1): "c301524f4dc2f654fb74",
    ("recommendation_list", 1): "c301210705bef2efef7b",
    ("user_event", 1): "c301fdee5b34eb61812b",
}

# Published with the Avro specification (share/test/data/schema-tests.txt).
VECTORS = [
    ('"null"', 7195948357588979594),
    ('"int"', 8247732601305521295),
    ('"string"', -8142146995180207161),
    ('{"name":"foo","type":"fixed","size":15}', 1756455273707447556),
    (
        '{"name":"foo","type":"record","fields":[{"name":"f1","type":"boolean"}]}',
        7843277075252814651,
    ),
]


def crc_64_avro(text: str) -> int:
    """The specification's definition, bit by bit."""
    empty = 0xC15D213AA4D7A795
    crc = empty
    for byte in text.encode():
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (empty if crc & 1 else 0)
    return crc


def test_load_gives_the_newest_version() -> None:
    assert load("user_event") == versions("user_event")[-1]
    assert load("user_event", 1).version == 1


def test_all_three_contracts_are_kept() -> None:
    assert names() == ["control", "recommendation_list", "user_event"]


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SchemaError, match="expected: one of control, recommendation_list") as error:
        load("user_events")
    assert error.value.received == "user_events"


def test_unknown_version_says_which_are_kept() -> None:
    with pytest.raises(SchemaError, match="no version 99"):
        load("control", 99)


@pytest.mark.parametrize("text", ["{", "{}", '{"type": "record"}', '"nonsense"', "5"])
def test_what_is_no_schema_is_refused(text: str) -> None:
    with pytest.raises(SchemaError, match="broken version 3 is not an Avro schema"):
        Schema.parse("broken", 3, text)


@pytest.mark.parametrize(("name", "version"), HEADERS)
def test_headers_of_kept_versions_never_change(name: str, version: int) -> None:
    assert load(name, version).header.hex() == HEADERS[name, version]


def test_every_kept_version_has_a_pinned_header() -> None:
    kept = {(schema.name, schema.version) for name in names() for schema in versions(name)}
    assert kept == set(HEADERS)


@pytest.mark.parametrize(("canonical", "expected"), VECTORS)
def test_fingerprint_equals_published_vectors(canonical: str, expected: int) -> None:
    wire = bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))
    assert int.from_bytes(wire, "little", signed=True) == expected
    assert crc_64_avro(canonical) == expected % 2**64


@pytest.mark.parametrize("name", names())
def test_header_equals_two_independent_computations(name: str) -> None:
    for schema in versions(name):
        assert schema.header[2:] == crc_64_avro(schema.canonical).to_bytes(8, "little")
        other = avro.schema.parse(json.dumps(schema.parsed))
        assert other.canonical_form == schema.canonical
        assert other.fingerprint() == schema.header[2:]


def test_docs_defaults_and_logical_types_do_not_move_the_fingerprint() -> None:
    text = json.dumps(load("user_event").source)
    bare = text.replace('"logicalType": "timestamp-millis"', '"note": "bare"')
    assert bare != text
    assert Schema.parse("user_event", 1, bare).header == load("user_event", 1).header
    renamed = text.replace('"surface"', '"place"')
    assert Schema.parse("user_event", 1, renamed).header != load("user_event", 1).header

"""`headrace schemas` and Python's side of the framing, with a real registry."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline import schemas
from pipeline.cli import app
from pipeline.config import Settings, with_values
from pipeline.framing import decoder, encoder, header, subjects
from pipeline.schema_registry import SchemaRegistry
from schemas import codec
from schemas.errors import CodecError, RegistryError
from schemas.reasons import Reason
from schemas.schema import Schema
from tests.registry.producer import OURS, changed, evolved, registered, written
from tests.registry.proxy import Proxy
from tests.replay.records import WIRE_EVENT

pytestmark = pytest.mark.real

TOPICS = ("events", "control", "recommendations")


def told(settings: Settings, *words: str, **environ: str) -> tuple[int, dict[str, Any], str]:
    """Exit status, result and all output of a command."""
    flags = {f"kafka.{topic}_topic": getattr(settings.kafka, f"{topic}_topic") for topic in TOPICS}
    flags["registry.url"] = settings.registry.url
    options = [word for name, value in flags.items() for word in ("--set", f"{name}={value}")]
    done = CliRunner().invoke(app, ["schemas", *words, "--json", *options], env=environ)
    return done.exit_code, json.loads(done.stdout.splitlines()[-1]), done.output


def test_ours_are_registered_once_and_checked(settings: Settings) -> None:
    status, before, _ = told(settings, "check")
    assert (status, before["compatible"], before["problems"]) == (0, True, [])
    assert [one["not_registered"] for one in before["schemas"]] == [[1]] * 3
    status, first, _ = told(settings, "register")
    assert status == 0
    assert set(first["subjects"]) == set(subjects(settings).values())
    assert told(settings, "register")[1] == first
    status, after, _ = told(settings, "check")
    assert (status, after["problems"]) == (0, [])
    assert [one["registered"] for one in after["schemas"]] == [[1]] * 3
    assert [one["not_registered"] for one in after["schemas"]] == [[]] * 3


def test_then_the_registry_refuses_what_we_could_not_read(settings: Settings) -> None:
    assert told(settings, "register")[0] == 0
    with pytest.raises(RegistryError, match="refused") as caught:
        registered(settings, changed("event_time", type="string"))
    assert "409" in caught.value.received
    registered(settings, evolved())  # the control: it goes with all that there is
    status, after, _ = told(settings, "check")
    assert (status, after["schemas"][0]["registered"]) == (0, [1, 2])


def test_a_subject_of_something_else_is_refused_and_nothing_is_changed(
    settings: Settings,
) -> None:
    registered(settings, {**OURS, "name": "Order"})
    status, error, _ = told(settings, "register")
    assert (status, error["error"]) == (3, "SchemaError")
    assert f"{settings.kafka.events_topic}-value version 1 (id " in error["received"]
    assert "our version 1 cannot read it: /, /name: expected: headrace.Order" in error["received"]
    assert "another name" in error["fix"]
    registry = SchemaRegistry(settings.registry)
    assert registry.versions(subjects(settings)["control"]) == []
    status, checked, _ = told(settings, "check")
    assert (status, checked["compatible"]) == (3, False)
    assert checked["problems"]


def test_a_kept_version_that_cannot_be_read_is_found(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = Schema.parse("user_event", 2, json.dumps(changed("event_time", type="string")))
    ours = schemas.versions
    monkeypatch.setattr(
        schemas, "versions", lambda name: (*ours(name), *[bad][: name == "user_event"])
    )
    alone = with_values(settings, {"registry.url": ""})
    for registry in (settings, alone):
        status, checked, _ = told(registry, "check")
        assert (status, checked["compatible"]) == (3, False)
        assert "cannot read version" in checked["problems"][0]


def test_without_a_registry_only_ours_are_checked(settings: Settings) -> None:
    alone = with_values(settings, {"registry.url": ""})
    status, checked, _ = told(alone, "check")
    assert (status, "registered" in checked["schemas"][0]) == (0, False)
    status, error, _ = told(alone, "register")
    assert (status, error["error"]) == (2, "SettingsError")


def test_trouble_with_the_registry_is_told(settings: Settings, proxy: Proxy) -> None:
    proxy.login = "writer:s3cret-canary"
    status, error, _ = told(settings, "check")
    assert (status, error["error"]) == (9, "RegistryError")
    assert "registry.password" in error["fix"]
    login = {
        "HEADRACE_REGISTRY__USERNAME": "writer",
        "HEADRACE_REGISTRY__PASSWORD": "${env:WORD}",
        "WORD": "s3cret-canary",
    }
    status, _, output = told(settings, "register", **login)
    assert (status, "s3cret-canary" in output) == (0, False)
    for fault in ("503", "html", "cut", "302", "404"):
        proxy.fail_next(fault)  # type: ignore[arg-type]
        status, error, output = told(settings, "check", **login)
        assert (status, error["error"]) == (9, "RegistryError"), fault
        assert "s3cret-canary" not in output


def test_what_we_write_names_our_schema(settings: Settings, proxy: Proxy) -> None:
    confluent = with_values(settings, {"registry.framing": "confluent"})
    with pytest.raises(RegistryError, match="not in the registry") as caught:
        header(confluent, "user_event")
    assert caught.value.fix == "headrace schemas register"
    [schema_id] = schemas.register(settings)["subjects"][subjects(settings)["user_event"]].values()
    registered(settings, evolved())  # newer, but not ours
    assert header(confluent, "user_event") == codec.confluent_header(schema_id)
    framed = encoder(confluent, "user_event").encode(WIRE_EVENT)
    reading = decoder(settings, "user_event")
    proxy.seen.clear()
    for _ in range(3):
        assert reading.decode(framed)["event_id"] == "abc"
    assert proxy.lookups() == [schema_id]


def test_python_reads_other_producers_as_java_does(settings: Settings) -> None:
    theirs, order = registered(settings, evolved()), {**OURS, "name": "Order"}
    other = registered(settings, order)
    record: dict[str, object] = {**dict.fromkeys(f["name"] for f in OURS["fields"]), **WIRE_EVENT}
    reading = decoder(settings, "user_event")
    read = reading.decode(written(theirs, evolved(), {**record, "device": "phone"}))
    assert read == record
    for schema_id, reason in (
        (other, Reason.INCOMPATIBLE_SCHEMA),
        (900_000, Reason.UNKNOWN_SCHEMA),
        (2**32 - 1, Reason.UNKNOWN_SCHEMA),
    ):
        with pytest.raises(CodecError) as caught:
            reading.decode(written(schema_id, order, record))
        assert caught.value.reason == reason

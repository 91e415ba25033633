"""Framing and its settings, without a registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import check_settings, load_settings
from pipeline.framing import decoder, encoder, header, job_parameters
from schemas import codec
from schemas.errors import CodecError, RegistryError, SettingsError
from schemas.reasons import Reason
from tests.replay.records import WIRE_EVENT

SETTINGS = load_settings(environ={})
URL = "http://127.0.0.1:1/apis/ccompat/v7"
EVENT = codec.encode("user_event", WIRE_EVENT)
FRAMED = codec.confluent_header(7) + EVENT[codec.HEADER_BYTES :]
EVENTS = codec.versions("user_event")
BOTH = codec.Decoder(EVENTS, {7: EVENTS[0]}.__getitem__)


def test_without_registry_nothing_changes() -> None:
    assert header(SETTINGS, "user_event") == codec.header("user_event")
    assert encoder(SETTINGS, "user_event").encode(WIRE_EVENT) == EVENT
    assert job_parameters(SETTINGS) == {}
    with pytest.raises(CodecError) as caught:
        decoder(SETTINGS, "user_event").decode(FRAMED)
    assert caught.value.reason == Reason.INVALID_MAGIC_BYTE


def test_both_framings_hold_the_same_record() -> None:
    assert BOTH.decode(FRAMED) == BOTH.decode(EVENT)
    assert codec.Encoder("user_event", codec.confluent_header(7)).encode(WIRE_EVENT) == FRAMED


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (FRAMED + b"?", Reason.TRAILING_BYTES),
        (FRAMED[:-1], Reason.AVRO_DECODE_FAILED),
        (FRAMED[:-1] + b"\x80\x00", Reason.NOT_CANONICAL),
        (FRAMED[:4], Reason.INVALID_MAGIC_BYTE),
        (b"\x01" + FRAMED[1:], Reason.INVALID_MAGIC_BYTE),
    ],
)
def test_the_body_is_checked_as_in_the_other_framing(value: bytes, reason: Reason) -> None:
    with pytest.raises(CodecError) as caught:
        BOTH.decode(value)
    assert caught.value.reason == reason


def test_single_object_framing_asks_nobody() -> None:
    settings = load_settings(flags={"registry.url": URL}, environ={})
    assert header(settings, "user_event") == codec.header("user_event")
    assert decoder(settings, "user_event").decode(EVENT)["event_id"] == "abc"
    with pytest.raises(RegistryError, match="does not answer"):  # the control
        decoder(settings, "user_event").decode(FRAMED)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"registry.framing": "confluent"}, "registry.url"),
        ({"registry.url": URL, "registry.username": "me"}, "registry.password"),
        ({"registry.url": URL, "registry.password": "${env:WORD}"}, "registry.username"),
        ({"registry.url": "http://me:word@127.0.0.1/"}, "registry.url"),
        ({"registry.url": URL + "/"}, "registry.url"),
        ({"registry.url": URL, "registry.password": "s3cret-canary"}, "registry.password"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    given: dict[str, object], problem: str
) -> None:
    _, problems = check_settings(flags=given, environ={"WORD": "open"})
    assert [one.setting for one in problems] == [problem]
    assert "s3cret-canary" not in repr(problems)


@pytest.mark.parametrize(
    ("password", "handed_on"), [("${file:PLACE}", True), ("${env:WORD}", False)]
)
def test_flink_is_given_a_file_for_its_environment_is_logged(
    tmp_path: Path, password: str, handed_on: bool
) -> None:
    file = tmp_path / "word"
    file.write_text("hunter2\n")
    flags = {
        "registry.url": URL,
        "registry.username": "me",
        "registry.password": password.replace("PLACE", str(file)),
    }
    settings = load_settings(flags=flags, environ={"WORD": "hunter2"})
    if handed_on:
        assert job_parameters(settings)["registry.password"] == f"${{file:{file}}}"
    else:
        with pytest.raises(SettingsError, match="cannot be handed to Flink"):
            job_parameters(settings)

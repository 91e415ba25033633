"""The Python side of ``udfs/java/src/test/java/io/headrace/Harness.java``; the format is there."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.replay.judge import Action, Decoded
from pipeline.sections import DecodeSettings, ProfileSettings
from schemas.profile import PROFILE_BYTES
from schemas.reasons import Outcome, Reason

NO_VERDICT = 255
OPTIONS = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Short runs: quick to start rather than quick."""
ACTIONS: tuple[Action, ...] = ("event", "forget", "rerank")


@dataclass(frozen=True)
class Case:
    """A Kafka record to judge; ``schema`` is ``user_event`` or ``control``."""

    schema: str
    value: bytes | None
    key: bytes | None
    timestamp_ms: int


@dataclass(frozen=True)
class Verdict:
    """What the Java decoder says: the decoded numbers or a reason, and its one-line message."""

    content: Decoded | Reason
    message: str


class Harness:
    """Runs the test program, one process for each call."""

    def __init__(self, class_path: list[Path]) -> None:
        self.class_path = ":".join(map(str, class_path))

    @cached_property
    def names(self) -> list[str]:
        """The names of Java's reasons, then of its outcomes."""
        return self._run("names").decode().split()

    def decode(self, cases: list[Case], limits: DecodeSettings, *schemas: Path) -> list[Verdict]:
        """Java's verdicts; ``schemas`` stand in for the packed versions of ``user_event``."""
        reasons = [Reason(name) for name in self.names[: len(Reason)]]
        bounds = (limits.max_value_bytes, limits.min_event_time_ms, limits.max_ahead_ms)
        results = _Reader(
            self._run("decode", *bounds, *schemas, stdin=b"".join(map(_pack_case, cases)))
        )
        return [_verdict(results, case, reasons) for case in cases]

    def decode_with_registry(
        self, cases: Iterable[tuple[int, Case]], limits: DecodeSettings, told: Mapping[str, object]
    ) -> list[Verdict | str]:
        """Java's verdicts with a schema registry; of a task that fails, its message.

        Args:
            cases: each with the time in ms when it is judged.
            told: job parameters, without their ``headrace.``.
        """
        reasons = [Reason(name) for name in self.names[: len(Reason)]]
        bounds = (limits.max_value_bytes, limits.min_event_time_ms, limits.max_ahead_ms)
        cases = list(cases)
        stdin = b"".join(_pack_case(case, clock_ms) for clock_ms, case in cases)
        assignments = [f"{name}={value}" for name, value in told.items()]
        results = _Reader(self._run("registry", *bounds, *assignments, stdin=stdin))
        return [_verdict_or_failure(results, case, reasons) for _, case in cases]

    def profiles(
        self, records: Iterable[Decoded | bytes], settings: ProfileSettings
    ) -> list[tuple[Outcome, bool, bytes]]:
        """After each record: its outcome, whether output is due, and the packed profile.

        Args:
            records: those of one user after another; a user begins with a packed profile, which
                gives no result.
        """
        records = list(records)
        bounds = (settings.allowed_lateness_ms, settings.expire_after_ms)
        results = _Reader(self._run("profile", *bounds, stdin=b"".join(map(_pack_record, records))))
        outcomes = [Outcome(name) for name in self.names[len(Reason) :]]
        steps = []
        for record in records:
            outcome, due = results.take(">B?")
            packed = results.bytes(PROFILE_BYTES)
            if isinstance(record, Decoded):
                steps.append((outcomes[outcome], due, packed))
        return steps

    def emitted(self, records: Iterable[Decoded], settings: ProfileSettings) -> list[bytes]:
        """The requests that RollingProfile emits for one user, as the last record leaves them."""
        stdin = b"".join(map(_pack_record, records))
        bounds = (settings.allowed_lateness_ms, settings.expire_after_ms)
        with TemporaryDirectory() as suspects:
            found = _Reader(self._run("function", *bounds, suspects, stdin=stdin))
        requests = []
        while not found.at_end():
            [length] = found.take(">i")
            requests.append(found.bytes(length))
        return requests

    def _run(self, *arguments: object, stdin: bytes = b"") -> bytes:
        command = ["java", *OPTIONS, "-cp", self.class_path, "io.headrace.Harness"]
        done = subprocess.run(
            [*command, *map(str, arguments)], input=stdin, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, layout: str) -> tuple[Any, ...]:
        found = struct.unpack_from(layout, self._data, self._at)
        self._at += struct.calcsize(layout)
        return found

    def at_end(self) -> bool:
        return self._at == len(self._data)

    def bytes(self, count: int) -> bytes:
        self._at += count
        return self._data[self._at - count : self._at]


def _pack_case(case: Case, clock_ms: int | None = None) -> bytes:
    kind = bytes([("user_event", "control").index(case.schema)])
    clock = b"" if clock_ms is None else struct.pack(">q", clock_ms)
    time = struct.pack(">q", case.timestamp_ms)
    return kind + clock + time + _sized(case.value) + _sized(case.key)


def _sized(data: bytes | None) -> bytes:
    return struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data


def _verdict(results: _Reader, case: Case, reasons: list[Reason]) -> Verdict:
    verdict = _verdict_or_failure(results, case, reasons)
    assert isinstance(verdict, Verdict), verdict
    return verdict


def _verdict_or_failure(results: _Reader, case: Case, reasons: list[Reason]) -> Verdict | str:
    reason, action, high, low, item, kind, time, amount = results.take(">BbQQQbqf")
    (length,) = results.take(">H")
    message = results.bytes(length).decode()
    if reason == NO_VERDICT:
        return message
    if reason:
        return Verdict(reasons[reason - 1], message)
    assert case.key is not None
    user = case.key.decode()
    return Verdict(
        Decoded(user, ACTIONS[action], (high << 64) + low, item, kind, time, amount), message
    )


def _pack_record(record: Decoded | bytes) -> bytes:
    if isinstance(record, bytes):
        return b"\x00" + record
    if record.action == "rerank":
        return b"\x03"
    if record.action == "forget":
        return struct.pack(">Bq", 2, record.event_time)
    return struct.pack(
        ">BQQQBqf",
        1,
        record.event_hash >> 64,
        record.event_hash & (2**64 - 1),
        record.item_hash,
        record.event_type,
        record.event_time,
        record.amount,
    )

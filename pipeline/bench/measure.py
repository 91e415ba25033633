"""Instruments: memory of a process tree, delays of lists, the machine."""

from __future__ import annotations

import math
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pipeline import framing, kafka
from schemas.errors import FlinkError

if TYPE_CHECKING:
    from confluent_kafka import Message

    from pipeline.config import Settings

PROC = Path("/proc")
SAMPLE_EVERY_S = 0.25
SILENCE_S = 3.0
FIRST_WITHIN_S = 60.0
BATCH = 1000


def now_ms() -> int:
    """Since 1970."""
    return time.time_ns() // 1_000_000


@contextmanager
def peak_memory(root: int) -> Iterator[dict[str, int]]:
    """Peak resident memory of a job's processes, in MB, known when the block ends.

    Each process counts with its own highest mark (VmHWM), whenever that was, and pages that two
    share count twice: the sum is an upper bound.

    Args:
        root: process id of ``headrace run``.

    Yields:
        filled at the end: ``command`` (root), ``jvm``, ``python`` (Flink's workers), ``total``.
    """
    peaks: dict[int, tuple[str, int]] = {}
    told: dict[str, int] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_EVERY_S):
            peaks.update(high_marks_kb(root))

    watching = threading.Thread(target=watch, name="peak-memory", daemon=True)
    watching.start()
    try:
        yield told
    finally:
        over.set()
        watching.join()
        for role in ("command", "jvm", "python"):
            told[role] = sum(kb for name, kb in peaks.values() if name == role) // 1024
        told["total"] = sum(told.values())


def resident_mb(root: int) -> float:
    """Present resident memory of a process and all below it."""
    return sum(kb for _, kb in memory_kb(root, "VmRSS").values()) / 1024


def high_marks_kb(root: int) -> dict[int, tuple[str, int]]:
    """(role, VmHWM in KB) of a process and all below it, by process id."""
    return memory_kb(root, "VmHWM")


def memory_kb(root: int, field: str) -> dict[int, tuple[str, int]]:
    """(role, a field of ``/proc/PID/status`` in KB), by process id; Linux only."""
    status = {pid: fields for pid in process_ids() if (fields := read_status(pid))}
    tree = {root} & status.keys()
    while below := {pid for pid in status if int(status[pid]["PPid"]) in tree} - tree:
        tree |= below
    roles = {pid: "jvm" if status[pid]["Name"] == "java" else "python" for pid in tree}
    roles[root] = "command"
    return {pid: (roles[pid], int(status[pid].get(field, "0 kB").split()[0])) for pid in tree}


def process_ids() -> list[int]:
    return [int(entry.name) for entry in PROC.glob("[0-9]*")]


def read_status(pid: int) -> dict[str, str]:
    """The fields of ``/proc/PID/status``; none if the process is gone."""
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def machine() -> dict[str, Any]:
    """Processor and system."""
    return {"cpu": cpu_model(), "cores": os.cpu_count(), "system": platform.platform()}


def cpu_model() -> str:
    try:
        lines = (PROC / "cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


class Reader(threading.Thread):
    """Notes when each list can be read, from the beginning of the topic; a context manager.

    Args:
        settings: where the lists are.
        keep_every: keep one of so many lists for `delays_ms`.
    """

    def __init__(self, settings: Settings, keep_every: int = 1) -> None:
        super().__init__(name="reader", daemon=True)
        self._keep_every = keep_every
        self._count = 0
        self._settings = settings
        self._closing = threading.Event()
        self._read: list[tuple[int, bytes]] = []

    def __enter__(self) -> Reader:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self.join()

    def run(self) -> None:
        consumer = kafka.reader(self._settings, [self._settings.kafka.recommendations_topic])
        while not self._closing.is_set():
            if message := consumer.poll(0.1):
                # With it all that are there; to wait for more would hold this one back.
                self._note([message, *consumer.consume(BATCH, timeout=0)])
        consumer.close()

    def _note(self, messages: list[Message]) -> None:
        read_ms = now_ms()
        for message in messages:
            if not message.error():
                self._count += 1
                if self._count % self._keep_every == 0:
                    self._read.append((read_ms, message.value()))

    def wait_for_first(self) -> None:
        """Return when a list has come.

        Raises:
            FlinkError: none has within ``FIRST_WITHIN_S``.
        """
        deadline = time.monotonic() + FIRST_WITHIN_S
        while not self._count:
            if time.monotonic() > deadline:
                raise FlinkError("no list has come", expected=f"one within {FIRST_WITHIN_S:g} s")
            time.sleep(SAMPLE_EVERY_S)

    def wait_for_silence(self) -> None:
        """Return when no list has come for ``SILENCE_S``."""
        count = -1
        while self._count > count:
            count = self._count
            time.sleep(SILENCE_S)

    def delays_ms(
        self, since_ms: float, before_ms: float = math.inf, late_ms: int = 0
    ) -> list[int]:
        """From event to list read, for lists of events with times within the bounds.

        Args:
            since_ms: the first event time that counts.
            before_ms: the first one that no longer does.
            late_ms: how much later than its event time an event was due.

        Raises:
            FlinkError: there are none.
        """
        delays = [
            read_ms - event_ms - late_ms
            for read_ms, event_ms in self._times_ms
            if since_ms <= event_ms < before_ms
        ]
        if not delays:
            raise FlinkError("no list of the load has come", fix="a lower rate, or a longer load")
        return delays

    @cached_property
    def _times_ms(self) -> list[tuple[int, int]]:
        """When each list was read and its event's time, decoded when nothing is measured."""
        lists = framing.decoder(self._settings, "recommendation_list")
        return [
            (read_ms, lists.decode(value, canonical=False)["event_time"])
            for read_ms, value in self._read
        ]

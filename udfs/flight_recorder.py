"""Finds the record that kills the worker, by what was in flight when it died.

    batch ──▶ noted ──▶ ranked ──▶ note erased
                 └── worker dies: the next one finds the note ──▶ suspects, each ranked alone

A note is one write into the page cache, which outlives the process, and a file lock tells the notes
of the living from those of the dead. A record that was in flight at a failure has one strike. It is
then ranked alone: before that its strike is raised, afterwards its strikes are erased. So a second
failure in a row has one record only to blame, and a worker that was killed from outside leaves
suspects that pass. Who has strikes enough is never decoded again, see ``pipeline.quarantine``:
every failure restarts the whole job from a checkpoint before the record. ``FlightRecorder.java``
does the same for the functions in Java, one record at a time. Both write into one folder:

    in-flight/<where>-<id>                               the notes
    strikes/<where>-<stage>-<partition>-<offset>.jsonl   a line for each failure in a row, such as
        {"where": "rank", "stage": "events", "partition": 0, "offset": 17, "at": "2026-01-31T..."}

``where`` is ``rank``, ``decode`` or ``profile``: the function that was at work.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from udfs.request import EVENT, SOURCE_DTYPE, Requests

WHERE = "rank"
COUNT_BYTES = 8
NOTHING = bytes(COUNT_BYTES)


class Place(NamedTuple):
    """Where a record lies: ``events`` or ``control``, partition, offset."""

    stage: str
    partition: int
    offset: int


def strikes_folder(folder: Path) -> Path:
    return folder / "strikes"


class FlightRecorder:
    """Of one worker; its notes and its suspects. Serves one thread.

    Args:
        folder: the same for all tasks of a job.

    Raises:
        OSError: the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._strikes = strikes_folder(folder)
        self._notes = folder / "in-flight"
        for needed in (self._strikes, self._notes):
            needed.mkdir(parents=True, exist_ok=True)
        with self._others_waiting():
            self._blame_the_dead()
            self._file = self._notes / f"{WHERE}-{uuid4().hex}"
            self._note = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            fcntl.flock(self._note, fcntl.LOCK_EX)
            self._write(NOTHING)
            self._suspects = {
                Place(stage, int(partition), int(offset))
                for _, stage, partition, offset in (
                    file.stem.split("-") for file in self._strikes.glob(f"{WHERE}-*.jsonl")
                )
            }

    def suspects_of(self, requests: Requests) -> list[int]:
        """Which rows of a batch must be ranked alone.

        Records of a partition come in their order, so suspects that lie behind are forgotten: they
        were another worker's, or are dead letters by now.

        Args:
            requests: ``[n]``.
        """
        if not self._suspects:
            return []
        places = places_of(requests.heads)
        found = [row for row, place in enumerate(places) if place in self._suspects]
        newest = {(place.stage, place.partition): place.offset for place in places}
        self._suspects = {
            suspect
            for suspect in self._suspects
            if suspect.offset > newest.get((suspect.stage, suspect.partition), -1)
        }
        return found

    @contextmanager
    def flight(self, requests: Requests, *, alone: bool = False) -> Iterator[None]:
        """Around the ranking of requests; an exception counts as a failure, like death.

        Args:
            requests: ``[n]``.
            alone: whether this is one suspect.
        """
        if alone:
            [place] = places_of(requests.heads)
            self._strike(place)
            yield
            self._file_of(place).unlink(missing_ok=True)
            return
        self._write(len(requests).to_bytes(COUNT_BYTES, "little") + requests.sources())
        yield
        self._write(NOTHING)

    def close(self) -> None:
        """Leaves nothing behind, unless a flight ended in an exception."""
        if not _noted(os.pread(self._note, COUNT_BYTES, 0)):
            self._file.unlink(missing_ok=True)
        os.close(self._note)

    @contextmanager
    def _others_waiting(self) -> Iterator[None]:
        """One worker opens at a time: what it learns of the dead, the next one finds."""
        folder = os.open(self._notes, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _blame_the_dead(self) -> None:
        """A strike for everything that was in flight in a worker that is gone."""
        for file in self._notes.glob(f"{WHERE}-*"):
            with file.open("rb") as left:
                try:
                    fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                content = left.read()
                sources = content[COUNT_BYTES:][: SOURCE_DTYPE.itemsize * _noted(content)]
                for place in places_of(np.frombuffer(sources, SOURCE_DTYPE)):
                    if not self._file_of(place).exists():
                        self._strike(place)
                file.unlink()

    def _strike(self, place: Place) -> None:
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        strike = {"where": WHERE, **place._asdict(), "at": now.replace("+00:00", "Z")}
        with self._file_of(place).open("a", encoding="utf-8") as file:
            file.write(json.dumps(strike) + "\n")

    def _write(self, note: bytes) -> None:
        with suppress(OSError):  # A disk that is full must not stop the lists.
            os.pwrite(self._note, note, 0)

    def _file_of(self, place: Place) -> Path:
        return self._strikes / f"{WHERE}-{place.stage}-{place.partition}-{place.offset}.jsonl"


def places_of(sources: NDArray[np.void]) -> list[Place]:
    """The places that SOURCE_DTYPE or HEAD_DTYPE ``[n]`` tell of."""
    stages = np.where(sources["cause"] == EVENT, "events", "control").tolist()
    partitions, offsets = sources["source_partition"], sources["source_offset"]
    return list(map(Place, stages, partitions.tolist(), offsets.tolist()))


def _noted(content: bytes) -> int:
    """How many requests were in flight; a file that was not begun has none."""
    return int.from_bytes(content[:COUNT_BYTES], "little")

"""Sorts more events than fit in memory.

    events ─▶ chunks of ``memory_events``, sorted ─▶ one file each ─┐
                                                     one file each ─┼─ merge ─▶ events by time
                                   the last chunk stays in memory ──┘

``FAN_IN`` files of one level are merged into one of the next, so that no more than a few dozen are
ever open. Equal times keep the order in which they came. Files are Avro and live in a temporary
folder that is deleted when the iterator ends or is closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import count, islice
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory

import fastavro

from pipeline.sources.base import UserEvent
from schemas import codec
from schemas.errors import SourceError

MEMORY_EVENTS = 200_000
FAN_IN = 32

_time = attrgetter("event_time")


def sort_by_time(
    events: Iterable[UserEvent], memory_events: int = MEMORY_EVENTS
) -> Iterator[UserEvent]:
    """``events`` by ``event_time``, oldest first; stable.

    Args:
        events: in any order; read to the end before the first one is given.
        memory_events: how many are held at once, about 500 bytes each.
    """
    events = iter(events)
    with TemporaryDirectory(prefix="headrace-sort-") as folder:
        runs = _Runs(Path(folder))
        while len(chunk := sorted(islice(events, memory_events), key=_time)) == memory_events:
            runs.add(chunk)
        yield from merge(*runs.oldest_first(), chunk, key=_time)


class _Runs:
    """Sorted files. Those of a higher level hold events that came before those of a lower one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._levels: list[list[Path]] = []
        self._numbers = count()

    def add(self, events: Iterable[UserEvent], level: int = 0) -> None:
        path = self._folder / f"{next(self._numbers)}.avro"
        _write(path, events)
        if level == len(self._levels):
            self._levels.append([])
        runs = self._levels[level]
        runs.append(path)
        if len(runs) == FAN_IN:
            self.add(merge(*map(_read, runs), key=_time), level + 1)
            for run in runs:
                run.unlink()
            runs.clear()

    def oldest_first(self) -> list[Iterator[UserEvent]]:
        return [_read(path) for runs in reversed(self._levels) for path in runs]


def _write(path: Path, events: Iterable[UserEvent]) -> None:
    schema = codec.load("user_event").parsed
    try:
        with path.open("wb") as file:
            fastavro.writer(file, schema, (event.as_record() for event in events))
    except (OSError, UnicodeEncodeError, OverflowError) as error:
        raise SourceError(
            "cannot sort the events by time",
            expected="events that fit the schema, and room for them in the temporary folder",
            received=f"{type(error).__name__}: {error}",
            fix=f"free space near {path.parent.parent}, or set TMPDIR to a larger disk",
        ) from error


def _read(path: Path) -> Iterator[UserEvent]:
    with path.open("rb") as file:
        for record in fastavro.reader(file):
            yield UserEvent(**record)

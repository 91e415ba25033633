"""The base of all event logs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from pipeline.sources.base import OPEN, Item, UserEvent, Window
from pipeline.sources.sort import sort_by_time
from schemas.errors import SourceError


class Source(ABC):
    """An event log. Iterating gives its events, oldest first, in bounded memory; as often as asked.

    Attributes:
        window: only events of this span are given.
        counts: rows that the latest iteration left out, by reason.
    """

    def __init__(self, window: Window = OPEN) -> None:
        self.window = window
        self.counts: Counter[str] = Counter()

    @cached_property
    def total(self) -> int | None:
        """Rows of the log, for a progress bar; None if only decoding it all would tell."""
        return None

    @abstractmethod
    def read(self, counts: Counter[str]) -> Iterator[UserEvent]:
        """Every event of the log, in its own order; rows left out are counted in ``counts``."""

    def in_order(self) -> bool:
        """Whether ``read`` is known to give the events oldest first."""
        return False

    def __iter__(self) -> Iterator[UserEvent]:
        self.counts = Counter()
        events = self._inside(self.counts)
        return events if self.in_order() else sort_by_time(events)

    def _inside(self, counts: Counter[str]) -> Iterator[UserEvent]:
        for event in self.read(counts):
            if event.event_time in self.window:
                yield event
            else:
                counts["outside_window"] += 1

    def items(self) -> Iterator[Item]:
        """Every item with an event in the window, once, with what the log knows of it."""
        seen = set()
        for event in self._inside(Counter()):
            if event.item_id not in seen:
                seen.add(event.item_id)
                yield Item(event.item_id)


class FileSource(Source):
    """A log in one file, or in a folder of them, which are then read in the order of their names.

    Attributes:
        suffix: how file names of this kind end; others in the folder are passed over.
        files: the files, at least one.
    """

    suffix: str

    def __init__(self, path: Path | None, window: Window = OPEN) -> None:
        super().__init__(window)
        self.files = _files(path, self.suffix)


def _files(path: Path | None, suffix: str) -> list[Path]:
    files = sorted(path.glob(f"*{suffix}")) if path and path.is_dir() else [path]
    found = [file for file in files if file and file.is_file()]
    if not found:
        raise SourceError(
            "there is no event log to read",
            expected=f"a {suffix} file, or a folder with such files",
            received=str(path) if path else "no path",
            fix="name an existing file",
        )
    return found


def malformed(place: str, expected: str, received: object) -> SourceError:
    """The error for one bad row; ``place`` is such as ``log.jsonl, line 7``."""
    return SourceError(
        f"{place} is malformed",
        expected=expected,
        received=str(received)[:200],
        fix="correct or remove it; is --source the right kind?",
    )

"""OTTO sessions (the RecSys data set): one session a line, its events in order.

    {"session": 0, "events": [{"aid": 1517085, "ts": 1659304800025, "type": "clicks"}, ...]}

A session is a user. Sessions overlap in time, so the log has to be sorted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from pipeline.sources.base import UserEvent
from pipeline.sources.lines import count_in_lines, json_lines
from pipeline.sources.source import FileSource, malformed

_TYPES = {"clicks": "click", "carts": "cart", "orders": "purchase"}
_EXPECTED = '{"session": ..., "events": [{"aid": ..., "ts": milliseconds, "type": "clicks"}, ...]}'


class OttoSource(FileSource):
    """Clicks, carts and orders; event ids are ``otto-<session>-<place in it>``."""

    suffix = ".jsonl"

    @cached_property
    def total(self) -> int:
        return count_in_lines(self.files, lambda line: line.count(b'"aid"'))

    def read(self, counts: Counter[str]) -> Iterator[UserEvent]:
        for place, line in json_lines(self.files):
            try:
                yield from _events(line)
            except (KeyError, TypeError, ValueError) as error:
                raise malformed(place, _EXPECTED, f"{type(error).__name__}: {error}") from error


def _events(line: dict[str, Any]) -> Iterator[UserEvent]:
    session = str(line["session"])
    for at, event in enumerate(line["events"]):
        yield UserEvent(
            event_id=f"otto-{session}-{at}",
            user_id=session,
            item_id=str(event["aid"]),
            event_type=_TYPES[event["type"]],
            event_time=int(event["ts"]),
        )

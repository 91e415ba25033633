"""Item sequences without times (the S3-Rec format): ``user item item item ...``, one user a line.

The times are made up, the same on every run: the n-th item of every user lies n minutes after
``START_MS``, and users follow each other within the minute, a millisecond apart. A replay then
takes the users' first items, then the second ones, and so on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cached_property

from pipeline.sources.base import UserEvent
from pipeline.sources.lines import count_in_lines, text_lines
from pipeline.sources.source import FileSource, malformed

START_MS = 1_577_836_800_000  # 2020-01-01
STEP_MS = 60_000


class SequencesSource(FileSource):
    """Each item is a click; event ids are ``sequence-<user>-<place in the sequence>``."""

    suffix = ".txt"

    @cached_property
    def total(self) -> int:
        return count_in_lines(self.files, lambda line: len(line.split()) - 1)

    def read(self, counts: Counter[str]) -> Iterator[UserEvent]:
        for number, (place, text) in enumerate(text_lines(self.files)):
            user, *items = text.split()
            if not items:
                raise malformed(place, "user item item ...", text)
            for at, item in enumerate(items):
                yield UserEvent(
                    event_id=f"sequence-{user}-{at}",
                    user_id=user,
                    item_id=item,
                    event_type="click",
                    event_time=START_MS + at * STEP_MS + number % STEP_MS,
                )

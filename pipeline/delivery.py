"""Which events of a log are surely in Kafka, so that sending can go on after a kill.

Kafka confirms records in no fixed order across partitions. Sent records are therefore counted in
spans; a span is delivered when each of its records is, and so is everything up to it when all
spans before it are:

    sent      |--- span 1 ---|--- span 2 ---|--- span 3 ...
    confirmed |ooooooooooooooo|ooo.oooo.ooooo|oooo....
              └─ delivered ──┘                          reach ┘

What lies between ``delivered`` and ``reach`` may be in the topic or not: the topic tells.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from confluent_kafka import KafkaError as Reason


class Span:
    """Records sent one after another; called by the producer once for each of them."""

    __slots__ = ("_failures", "end", "pending")

    def __init__(self, failures: Counter[str]) -> None:
        self.pending = 0
        self.end = 0
        self._failures = failures

    def __call__(self, error: Reason | None, message: object) -> None:
        if error is None:
            self.pending -= 1
        else:
            self._failures[error.str()] += 1


class Ledger:
    """Counts what is sent and delivered.

    Attributes:
        sent: records sent, those of earlier runs included.
        delivered: how many of them, counted from the first, are all delivered.
        failures: records that Kafka did not take, by reason. They never become delivered.
    """

    def __init__(self, delivered: int) -> None:
        self.sent = delivered
        self.delivered = delivered
        self.failures: Counter[str] = Counter()
        self._spans = deque([Span(self.failures)])

    def enter(self) -> Span:
        """Counts one record as sent; the span is to be called when its fate is known."""
        span = self._spans[-1]
        span.pending += 1
        self.sent += 1
        return span

    def close_span(self) -> None:
        """Ends the present span, begins another, and moves ``delivered`` on as far as it goes."""
        self._spans[-1].end = self.sent
        self._spans.append(Span(self.failures))
        while len(self._spans) > 1 and not self._spans[0].pending:
            self.delivered = self._spans.popleft().end


@dataclass(frozen=True)
class Standing:
    """How far a log came.

    Attributes:
        delivered: how many events, counted from the first, are surely in the topic.
        reach: events from this number on were surely never sent.
        since_ms: records of the events between the two are no older by their Kafka timestamp.
        finished: the log was sent to its end.
    """

    delivered: int = 0
    reach: int = 0
    since_ms: int = 0
    finished: bool = False


@dataclass(frozen=True)
class Progress:
    """A file that remembers how much of one log was delivered to one topic.

    Attributes:
        file: named after what is sent where.
        identity: log and topic, JSON-ready; a changed log or a new topic is another identity.
    """

    file: Path
    identity: dict[str, Any]

    @classmethod
    def of(cls, folder: Path, identity: dict[str, Any]) -> Progress:
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return cls(folder / f"{digest[:16]}.json", identity)

    def read(self) -> Standing | None:
        """How far earlier runs came; None if there were none."""
        try:
            kept = json.loads(self.file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return Standing(**{name: kept[name] for name in asdict(Standing())})

    def write(self, standing: Standing) -> None:
        """Replaces the file as a whole, so that a kill leaves the old one or the new one."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        kept = asdict(standing) | {"identity": self.identity}
        partial = self.file.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(kept, indent=1), encoding="utf-8")
        partial.replace(self.file)

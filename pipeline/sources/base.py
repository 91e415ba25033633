"""What every event log gives: events, and what it knows of the items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# In the order of the schema's enum: the place is the number that profiles hold.
EVENT_TYPES = (
    "unknown",
    "impression",
    "view",
    "click",
    "cart",
    "purchase",
    "return",
    "rating",
    "like",
    "dislike",
    "hide",
    "share",
)


@dataclass(frozen=True, slots=True)
class UserEvent:
    """One thing that one user did with one item; the fields of ``schemas/user_event.*.avsc``.

    ``event_time`` is in milliseconds since 1970-01-01T00:00:00Z, ``event_type`` is one of
    ``EVENT_TYPES``.
    """

    event_id: str
    user_id: str
    item_id: str
    event_type: str
    event_time: int
    value: float | None = None
    session_id: str | None = None
    surface: str | None = None
    position: int | None = None
    request_id: str | None = None
    propensity: float | None = None

    def as_record(self) -> dict[str, Any]:
        """The event as the record that ``schemas.codec`` encodes."""
        return {
            "event_id": self.event_id,
            "user_id": self.user_id,
            "item_id": self.item_id,
            "event_type": self.event_type,
            "event_time": self.event_time,
            "value": self.value,
            "session_id": self.session_id,
            "surface": self.surface,
            "position": self.position,
            "request_id": self.request_id,
            "propensity": self.propensity,
        }


@dataclass(frozen=True, slots=True)
class Item:
    """What a log knows of an item; None where it does not say."""

    item_id: str
    title: str | None = None
    category: str | None = None
    price: float | None = None
    provider: str | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """A span of event time: from ``since_ms`` on and before ``until_ms``; None leaves it open."""

    since_ms: int | None = None
    until_ms: int | None = None

    def __contains__(self, time_ms: int) -> bool:
        return (self.since_ms is None or self.since_ms <= time_ms) and (
            self.until_ms is None or time_ms < self.until_ms
        )


OPEN = Window()

"""Events for the tests of sources."""

from __future__ import annotations

from pathlib import Path

from pipeline.sources import UserEvent

START_MS = 1_600_000_000_000


def event(number: int, time_ms: int, user: str = "u") -> UserEvent:
    return UserEvent(f"e-{number}", user, f"i-{number}", "click", time_ms)


FULL = UserEvent(
    event_id="e-1",
    user_id="ümit",
    item_id="i-1",
    event_type="rating",
    event_time=START_MS + 1,
    value=4.5,
    session_id="s",
    surface="home",
    position=0,
    request_id="r",
    propensity=0.25,
)
PLAIN = event(2, START_MS + 2)


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path

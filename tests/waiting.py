"""Waiting for what real processes do in their own time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 180.0
POLL_S = 0.05
Found = TypeVar("Found")


def until(found: Callable[[], Found], what: str) -> Found:
    """What it finds, as soon as it finds something."""
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := found()):
        assert time.monotonic() < deadline, f"no {what} within {PATIENCE_S:.0f} s"
        time.sleep(POLL_S)
    return answer

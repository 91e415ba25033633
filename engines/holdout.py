"""A log in what a model may see and what it is to find: each tested user's next item.

leave one out   fitted on      a b c d
                input          a b c d e        (shown items are removed from the list)
                to be found              f

by time         fitted on      a b c d |
                input          a b c d |
                to be found            | f      the first item after that is new to the user
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engines.catalogue import item_hash
from engines.models.interactions import SPEAKING, Event
from schemas.errors import EngineError

History = list[tuple[int, int, int]]
"""item_hash, event type and event time in ms of each event, oldest first."""


@dataclass
class Holdout:
    """``n`` tested users.

    Args:
        log: what a model may be fitted on.
        histories: of each tested user.
        target_ids: item id that is to be found for each.
    """

    log: list[Event] = field(default_factory=list)
    histories: list[History] = field(default_factory=list)
    target_ids: list[str] = field(default_factory=list)

    def test(self, history: list[Event], target: Event) -> None:
        """One more user."""
        slots = [(item_hash(item), kind, time_ms) for _, item, kind, time_ms in history]
        self.histories.append(slots)
        self.target_ids.append(target[1])

    def checked(self, expected: str) -> Holdout:
        """Itself, if there is anything to test."""
        if not self.histories:
            raise EngineError(
                "there is no user to test on",
                expected=f"at least {expected}",
                received="none",
                fix="take a longer log, or another time",
            )
        return self

    @property
    def seen(self) -> list[list[int]]:
        """Item hashes of each history, sorted, which are not to be listed again."""
        return [sorted({item for item, _, _ in history}) for history in self.histories]

    @property
    def targets(self) -> NDArray[np.uint64]:
        """Their item hashes, [n]."""
        return np.array([item_hash(item) for item in self.target_ids], np.uint64)


def leave_one_out(events: Iterable[Event]) -> Holdout:
    """The newest event of each user is to be found, fitted on all but the last two.

    Raises:
        EngineError: no user has two events.
    """
    held = Holdout()
    for user in _by_user(events):
        held.log += user[:-2]
        if len(user) >= 2:
            held.test(user[:-1], user[-1])
    return held.checked("one user with two items")


def by_time(events: Iterable[Event], from_ms: int) -> Holdout:
    """What each user does first from ``from_ms`` on is to be found, fitted on all that was before.

    Raises:
        EngineError: no user has events before that time, and one with a new item after it.
    """
    held = Holdout()
    for user in _by_user(events):
        before = [event for event in user if event[3] < from_ms]
        held.log += before
        known = {item for _, item, _, _ in before}
        target = next((event for event in user[len(before) :] if event[1] not in known), None)
        if before and target:
            held.test(before, target)
    return held.checked("one user with events before that time and a new item after it")


def _by_user(events: Iterable[Event]) -> Iterable[list[Event]]:
    """The events that speak for an item, user by user, each one's oldest first."""
    users: dict[str, list[Event]] = {}
    for event in events:
        if SPEAKING[event[2]]:
            users.setdefault(event[0], []).append(event)
    for user in users.values():
        user.sort(key=lambda event: event[3])
    return users.values()

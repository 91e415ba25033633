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
from schemas.profile import EXCLUDED_SLOTS

PURCHASE, DISLIKE, HIDE = 5, 9, 10
EXCLUDING = (PURCHASE, DISLIKE, HIDE)
"""By Avro enum order: an item that this was done with enters a profile's ``excluded``."""

History = list[tuple[int, int, int]]
"""item_hash, event type and event time in ms of each event, oldest first."""


@dataclass
class Holdout:
    """``n`` tested users.

    Args:
        log: what a model may be fitted on.
        histories: of each tested user.
        excluded: item hashes of each, that the product lists no more: bought, disliked or hidden
            before; the newest 64, as profiles hold them.
        target_ids: item id that is to be found for each.
    """

    log: list[Event] = field(default_factory=list)
    histories: list[History] = field(default_factory=list)
    excluded: list[list[int]] = field(default_factory=list)
    target_ids: list[str] = field(default_factory=list)

    def test(self, before: list[Event], target: Event) -> None:
        """One more user, with all that was kept of him until then."""
        slots = [(item_hash(item), kind, time_ms) for _, item, kind, time_ms in before]
        self.histories.append([slot for slot in slots if SPEAKING[slot[1]]])
        excluded: list[int] = []
        for item, kind, _ in slots:  # step by step, as profiles take them in
            if kind in EXCLUDING and item not in excluded:
                excluded = [*excluded, item][-EXCLUDED_SLOTS:]
        self.excluded.append(excluded)
        self.target_ids.append(target[1])

    def sample(self, users: int, seed: int) -> Holdout:
        """At most so many of the users, in their order; same seed, same users."""
        if len(self.histories) <= users:
            return self
        chance = np.random.default_rng(seed)
        chosen = sorted(chance.choice(len(self.histories), users, replace=False).tolist())
        return Holdout(
            self.log,
            [self.histories[user] for user in chosen],
            [self.excluded[user] for user in chosen],
            [self.target_ids[user] for user in chosen],
        )

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
        speaking = [place for place, event in enumerate(user) if SPEAKING[event[2]]]
        held.log += [user[place] for place in speaking[:-2]]
        if len(speaking) >= 2:
            held.test(user[: speaking[-1]], user[speaking[-1]])
    return held.checked("one user with two items")


def by_time(events: Iterable[Event], from_ms: int) -> Holdout:
    """What each user does first from ``from_ms`` on is to be found, fitted on all that was before.

    Raises:
        EngineError: no user has events before that time, and one with a new item after it.
    """
    held = Holdout()
    for user in _by_user(events):
        before = [event for event in user if event[3] < from_ms]
        spoken = [event for event in before if SPEAKING[event[2]]]
        held.log += spoken
        known = {item for _, item, _, _ in spoken}
        after = (event for event in user[len(before) :] if SPEAKING[event[2]])
        target = next((event for event in after if event[1] not in known), None)
        if spoken and target:
            held.test(before, target)
    return held.checked("one user with events before that time and a new item after it")


def _by_user(events: Iterable[Event]) -> Iterable[list[Event]]:
    """The events that speak for an item or exclude it, user by user, each one's oldest first."""
    users: dict[str, list[Event]] = {}
    for event in events:
        if SPEAKING[event[2]] or event[2] in EXCLUDING:
            users.setdefault(event[0], []).append(event)
    for user in users.values():
        user.sort(key=lambda event: event[3])
    return users.values()

"""The reference fold: how events and orders change one user's profile, in the plainest Python.

Written apart from ``udfs/java/.../Profile.java``, which must give the same bytes after every
record. ``schemas/profile.py`` draws those bytes.

    fold = Fold(settings.profile)
    for record in records_of_one_user_in_partition_order:
        step = fold.take(record)           # what became of it, and whether a list is due
    profile_hash(fold.profile.pack())
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import xxhash

from pipeline.replay.judge import Decoded
from pipeline.sections import ProfileSettings
from schemas.profile import (
    EXCLUDED_SLOTS,
    HISTORY_DTYPE,
    HISTORY_SLOTS,
    LAYOUT,
    MIN_TIME_MS,
    RECENT_SLOTS,
    TYPE_SLOTS,
)
from schemas.reasons import Outcome

IMPRESSION, PURCHASE, DISLIKE, HIDE = 1, 5, 9, 10
EXCLUDING = (PURCHASE, DISLIKE, HIDE)

ONE = 1 << 16
"""One event, in the 16.16 fixed point of the counts."""
STEP_MS = 18_900_000
"""7 days, the half-life of a count, in 32 steps."""
COUNTER_MAX = 2**32 - 1

# DECAY[i] = floor(2^32 * 2^(-i / 32)); tests/replay/test_fold.py proves it in whole numbers.
# fmt: off
DECAY = (
    4294967296, 4202935003, 4112874773, 4024744347, 3938502375, 3854108391, 3771522796, 3690706839,
    3611622602, 3534232977, 3458501653, 3384393094, 3311872529, 3240905930, 3171459999, 3103502151,
    3037000499, 2971923841, 2908241642, 2845924020, 2784941737, 2725266179, 2666869344, 2609723833,
    2553802833, 2499080104, 2445529971, 2393127307, 2341847523, 2291666560, 2242560871, 2194507416,
)
# fmt: on

_HEAD = struct.Struct("<4H2Q16s4q16I4IQ")
_SLOT = struct.Struct("<QqfB3x")


def decay(count: int, steps: int) -> int:
    """A 32-bit ``count`` after ``steps`` (not negative), rounded down.

    >>> decay(65536, 0), decay(65536, 16), decay(65536, 32), decay(65536, 32 * 17)
    (65536, 46340, 32768, 0)
    """
    halvings, part = divmod(steps, 32)
    return ((count * DECAY[part]) >> 32) >> halvings


def profile_hash(packed: bytes) -> bytes:
    """XXH3-128 of a packed profile, 16 bytes, little-endian."""
    return xxhash.xxh3_128_intdigest(packed).to_bytes(16, "little")


class HistoryEntry(NamedTuple):
    item_hash: int
    event_time: int
    value: float
    event_type: int


class Step(NamedTuple):
    """What became of one record, and what the job then writes about the user."""

    outcome: Outcome
    action: Literal["list", "tombstone", "none"]


@dataclass
class Profile:
    """One user's state as lists and whole numbers. Times are ms since 1970."""

    user_epoch: int = 0
    version: int = 0
    events_digest: int = 0
    first_event_time: int = 0
    last_event_time: int = 0
    forgotten_as_of: int = MIN_TIME_MS
    counts_time: int = 0
    counts: list[int] = field(default_factory=lambda: [0] * TYPE_SLOTS)
    duplicates: int = 0
    late: int = 0
    forgotten: int = 0
    controls: int = 0
    history: list[HistoryEntry] = field(default_factory=list)
    excluded: list[int] = field(default_factory=list)
    recent: list[int] = field(default_factory=list)

    def start_anew(self, time: int) -> None:
        """Before a first event, or one after too long a silence."""
        self.first_event_time = self.last_event_time = self.counts_time = time
        self.counts = [0] * TYPE_SLOTS
        self.history, self.excluded, self.recent = [], [], []

    def absorb(self, event: Decoded) -> None:
        """Take in an event that passed all checks."""
        self.version += 1
        self.events_digest = (self.events_digest + event.event_hash) % 2**128
        self.recent = [*self.recent, low64(event.event_hash)][-RECENT_SLOTS:]
        self.first_event_time = min(self.first_event_time, event.event_time)
        self.last_event_time = max(self.last_event_time, event.event_time)
        self._count(event.event_type, event.event_time)
        if event.event_type != IMPRESSION:
            self._remember(event)
        if event.event_type in EXCLUDING and event.item_hash not in self.excluded:
            self.excluded = [*self.excluded, event.item_hash][-EXCLUDED_SLOTS:]

    def _count(self, event_type: int, time: int) -> None:
        """Decay all counts up to the event, or the event down to the time of the counts."""
        weight = ONE
        if time >= self.counts_time:
            steps = (time - self.counts_time) // STEP_MS
            self.counts = [decay(count, steps) for count in self.counts]
            self.counts_time += steps * STEP_MS
        else:
            weight = decay(ONE, (self.counts_time - time) // STEP_MS)
        self.counts[event_type] = _add(self.counts[event_type], weight)

    def _remember(self, event: Decoded) -> None:
        """Keep the newest events by time; equal times stay in order of arrival."""
        entry = HistoryEntry(event.item_hash, event.event_time, event.amount, event.event_type)
        in_order = sorted([*self.history, entry], key=lambda kept: kept.event_time)
        self.history = in_order[-HISTORY_SLOTS:]

    def pack(self) -> bytes:
        """The profile as `schemas.profile.PROFILE_BYTES` bytes."""
        head = _HEAD.pack(
            *(LAYOUT, len(self.history), len(self.excluded), len(self.recent)),
            *(self.user_epoch, self.version, self.events_digest.to_bytes(16, "little")),
            *(self.first_event_time, self.last_event_time),
            *(self.forgotten_as_of, self.counts_time),
            *self.counts,
            *(self.duplicates, self.late, self.forgotten, self.controls),
            0,
        )
        slots = b"".join(_SLOT.pack(*entry) for entry in self.history)
        return (
            head
            + slots.ljust(HISTORY_SLOTS * HISTORY_DTYPE.itemsize, b"\0")
            + _pack_hashes(self.excluded, EXCLUDED_SLOTS)
            + _pack_hashes(self.recent, RECENT_SLOTS)
        )


class Fold:
    """The rules by which records change the profile of one user."""

    def __init__(self, settings: ProfileSettings) -> None:
        self.settings = settings
        self.profile = Profile()

    def take(self, record: Decoded) -> Step:
        """Fold in one good record, whatever it is."""
        if record.action != "event":
            return Step(Outcome.CONTROL, self.control(record))
        outcome = self.apply(record)
        due = outcome is Outcome.APPLIED and record.event_type != IMPRESSION
        return Step(outcome, "list" if due else "none")

    def apply(self, event: Decoded) -> Outcome:
        """Apply one event, or count why not."""
        profile, time = self.profile, event.event_time
        if time <= profile.forgotten_as_of:
            profile.forgotten = _add(profile.forgotten, 1)
            return Outcome.FORGOTTEN
        if low64(event.event_hash) in profile.recent:
            profile.duplicates = _add(profile.duplicates, 1)
            return Outcome.DUPLICATE
        known, gap = profile.version > 0, time - profile.last_event_time
        if known and -gap > self.settings.allowed_lateness_ms:
            profile.late = _add(profile.late, 1)
            return Outcome.LATE
        if not known or gap > self.settings.expire_after_ms:
            profile.start_anew(time)
        profile.absorb(event)
        return Outcome.APPLIED

    def control(self, order: Decoded) -> Literal["list", "tombstone", "none"]:
        """Obey one order; says what it makes the job write."""
        profile = self.profile
        profile.controls = _add(profile.controls, 1)
        if order.action == "rerank":
            return "list" if profile.version > 0 else "none"
        if order.event_time <= profile.forgotten_as_of:
            return "none"
        self.profile = Profile(
            user_epoch=profile.user_epoch + 1,
            forgotten_as_of=order.event_time,
            controls=profile.controls,
        )
        return "tombstone"


def low64(event_hash: int) -> int:
    """The half of an event's hash by which duplicates are known."""
    return event_hash & (2**64 - 1)


def _add(counter: int, amount: int) -> int:
    """Counters stay at their maximum rather than wrap."""
    return min(counter + amount, COUNTER_MAX)


def _pack_hashes(hashes: list[int], slots: int) -> bytes:
    return struct.pack(f"<{slots}Q", *hashes, *[0] * (slots - len(hashes)))

"""What the job must have done, worked out in plain Python from the same topics.

Every record of the events and control topics is judged and folded by ``pipeline.replay``; nothing
here looks at what the job wrote. The two topics have no common order, so the scenario waits between
its phases, and a phase is a range of offsets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.config import Settings
from pipeline.replay.fold import Fold, profile_hash
from pipeline.replay.judge import judge
from schemas import codec
from schemas.reasons import Outcome, Reason

PACKED_EVERY = 10
"""Profiles are kept after one record in so many; all of them would take 80 MB."""


class Place(NamedTuple):
    """Where a record lies: ``events`` or ``control``, partition, offset."""

    stage: str
    partition: int
    offset: int


class Record(NamedTuple):
    """One Kafka record."""

    place: Place
    key: bytes | None
    value: bytes | None
    timestamp_ms: int


class State(NamedTuple):
    """What a list says of the profile that it was made from."""

    user_epoch: int
    version: int
    events_digest: bytes
    profile_hash: bytes


@dataclass
class Reference:
    """Outcomes and profiles as they must be.

    Attributes:
        outcomes: of every offset.
        reasons: of every dead letter.
        folds: by user.
        states: after every record that asked for a list, by the place of that record.
        times: event_time (as_of of an order) of those records, ms since 1970.
        packed: the packed profile after some of them.
    """

    settings: Settings
    outcomes: dict[Place, Outcome] = field(default_factory=dict)
    reasons: dict[Place, Reason] = field(default_factory=dict)
    folds: dict[str, Fold] = field(default_factory=dict)
    states: dict[Place, State] = field(default_factory=dict)
    times: dict[Place, int] = field(default_factory=dict)
    packed: dict[Place, bytes] = field(default_factory=dict)

    def quarantine(self, place: Place) -> None:
        """The record there is to be set aside: a dead letter, and never applied."""
        self.outcomes[place] = Outcome.DEAD_LETTERED
        self.reasons[place] = Reason.QUARANTINED

    def take(self, records: Iterable[Record]) -> None:
        """Fold in records, those of one user in the order of the job."""
        for record in records:
            if self.reasons.get(record.place) is Reason.QUARANTINED:
                continue
            schema = "user_event" if record.place.stage == "events" else "control"
            verdict = judge(
                record.value, record.key, record.timestamp_ms, self.settings.decode, schema
            )
            if isinstance(verdict, Reason):
                self.outcomes[record.place] = Outcome.DEAD_LETTERED
                self.reasons[record.place] = verdict
                continue
            fold = self.folds.setdefault(verdict.user_id, Fold(self.settings.profile))
            step = fold.take(verdict)
            self.outcomes[record.place] = step.outcome
            if step.action == "list":
                self.states[record.place] = state_of(fold)
                self.times[record.place] = verdict.event_time
                if record.place.offset % PACKED_EVERY == 0:
                    self.packed[record.place] = fold.profile.pack()


def state_of(fold: Fold) -> State:
    profile = fold.profile
    return State(
        profile.user_epoch,
        profile.version,
        profile.events_digest.to_bytes(16, "little"),
        profile_hash(profile.pack()),
    )


def decoded(value: bytes) -> dict[str, object]:
    """A list as the job wrote it."""
    return codec.decode("recommendation_list", value, canonical=False)


def source_of(record: dict[str, object]) -> Place:
    """The record that a decoded list came of."""
    stage = "control" if record["cause"] == "rerank" else "events"
    return Place(stage, record["source_partition"], record["source_offset"])  # type: ignore[arg-type]


def conservation_errors(
    expected: dict[Place, Outcome], written: Iterable[tuple[Place, str]]
) -> list[str]:
    """Where the outcomes that the job wrote do not partition the offsets as they must.

    Args:
        expected: the outcome of every input offset.
        written: audit rows and dead letters as they lie in the topics, repetitions included.
    """
    seen: dict[Place, str] = {}
    errors = []
    for place, outcome in written:
        if seen.setdefault(place, outcome) != outcome:
            errors.append(f"{place}: {seen[place]} and also {outcome}")
    for place in expected.keys() | seen.keys():
        wanted, found = expected.get(place), seen.get(place)
        if found != (wanted.value if wanted else None):
            errors.append(f"{place}: {wanted} expected, {found} written")
    return errors


def digest_errors(expected: dict[str, State], published: dict[str, State]) -> list[str]:
    """Users whose last list was not made from the profile that they must have."""
    return [
        f"{user}: {expected.get(user)} expected, {published.get(user)} published"
        for user in expected.keys() | published.keys()
        if expected.get(user) != published.get(user)
    ]

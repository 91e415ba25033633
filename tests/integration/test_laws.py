"""The two laws, on real Kafka and Flink: nothing lost or doubled, and every list is provable."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from itertools import chain

import numpy as np
import pytest

from engines.backends.onnx import OnnxBackend
from engines.catalogue import item_hash
from engines.registry import Registry
from pipeline.replay.fold import profile_hash
from schemas import codec
from schemas.profile import EXCLUDED_SLOTS, HISTORY_SLOTS, PROFILE_DTYPE, RECENT_SLOTS
from schemas.reasons import Outcome, Reason
from tests.engines.examples import inputs
from tests.integration import scenario
from tests.integration.conftest import Played
from tests.integration.reference import (
    Record,
    Reference,
    State,
    conservation_errors,
    decoded,
    digest_errors,
    source_of,
    state_of,
)

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]


def last_lists(played: Played) -> dict[str, bytes]:
    """The last value of each user; a forgotten user without events since has none."""
    newest = {key.decode(): value for key, value, _ in played.lists}
    return {user: value for user, value in newest.items() if value is not None}


def published_states(played: Played) -> dict[str, State]:
    return {user: state_in(decoded(value)) for user, value in last_lists(played).items()}


def state_in(record: dict[str, object]) -> State:
    return State(*(record[name] for name in State._fields))  # type: ignore[arg-type]


def expected_states(reference: Reference) -> dict[str, State]:
    folds = reference.folds.items()
    return {user: state_of(fold) for user, fold in folds if fold.profile.version}


def test_every_offset_has_exactly_one_outcome_and_it_is_the_right_one(played):
    sent = {record.place for record in chain(*played.phases)}
    assert sent == played.reference.outcomes.keys()
    assert conservation_errors(played.reference.outcomes, played.written) == []


def test_the_log_was_as_hostile_as_promised(played):
    counts = Counter(played.reference.outcomes.values())
    assert sum(counts.values()) > scenario.EVENTS
    assert counts[Outcome.DUPLICATE] > 0.04 * scenario.EVENTS
    assert counts[Outcome.LATE] > 0.01 * scenario.EVENTS
    assert counts[Outcome.FORGOTTEN] > 0
    assert counts[Outcome.CONTROL] == scenario.FORGOTTEN_USERS + scenario.USERS
    assert counts[Outcome.DEAD_LETTERED] > 0.016 * scenario.EVENTS
    assert len(scenario.BAD) >= 15
    elsewhere = {Reason.UNKNOWN_ACTION, Reason.INCOMPATIBLE_SCHEMA, Reason.QUARANTINED}
    reasons = Counter(played.reference.reasons.values())
    assert reasons.keys() == set(Reason) - elsewhere
    assert min(reasons.values()) > 10
    profiles = [fold.profile for fold in played.reference.folds.values()]
    assert max(len(one.excluded) for one in profiles) == EXCLUDED_SLOTS
    assert sum(len(one.history) == HISTORY_SLOTS for one in profiles) > scenario.USERS / 2
    assert sum(len(one.recent) == RECENT_SLOTS for one in profiles) > scenario.USERS / 2


def test_the_job_never_restarted(played):
    assert played.job["restarts"] == 0
    assert played.job["state"] == "CANCELED"


def test_dead_letters_keep_key_and_value_and_say_why(played):
    records = {record.place: record for record in chain(*played.phases)}
    for place, reason in played.reference.reasons.items():
        key, value, headers = played.dead[place]
        assert headers["dlq.reason"] == reason.value, (place, reason, headers)
        assert headers["dlq.topic"] == played.settings.kafka.events_topic
        assert int(headers["dlq.timestamp"]) == records[place].timestamp_ms
        assert (key, value) == (records[place].key, records[place].value)


def test_every_list_was_made_from_the_profile_that_its_event_left(played):
    """Not only the last ones: with ``emit = "latest"`` some are missing, none is wrong."""
    checked = 0
    for _, value, _ in played.lists:
        if value is not None:
            record = decoded(value)
            place = source_of(record)
            assert state_in(record) == played.reference.states[place], place
            assert record["event_time"] == played.reference.times[place], place
            checked += 1
    assert checked > 2000


def test_digests_of_every_user_equal_the_reference(played):
    assert digest_errors(expected_states(played.reference), published_states(played)) == []


@pytest.fixture(scope="module")
def ranking(played):
    """Ranks one packed profile alone; returns the whole list as the job must have written it."""
    bundle, active = Registry(played.settings.engine.store).open_active()
    with OnnxBackend(bundle) as backend:

        def rank(packed: bytes, published: dict[str, object]) -> bytes:
            profile = np.frombuffer(packed, PROFILE_DTYPE)
            ranked = backend.run(inputs(profile, bundle))
            rows = zip(ranked.items[0], ranked.scores[0], ranked.channels[0], strict=True)
            place = source_of(published)
            again = {
                "engine": bundle.label,
                "engine_digest": bundle.digest,
                "engine_seq": active.engine_seq,
                "runtime": backend.runtime_digest,
                "job_epoch": played.job["job_epoch"],
                "degrade_level": 0,
                "user_id": published["user_id"],
                "user_epoch": int(profile["user_epoch"][0]),
                "version": int(profile["version"][0]),
                "cause": "event" if place.stage == "events" else "rerank",
                "source_partition": place.partition,
                "source_offset": place.offset,
                "event_time": played.reference.times[place],
                "generated_at": published["generated_at"],  # the one field that may differ
                "events_digest": profile["events_digest"].tobytes(),
                "profile_hash": profile_hash(packed),
                "items": [
                    {
                        "item_id": bundle.catalogue.item_ids[item],
                        "score": float(score),
                        "reason": bundle.manifest.channels[channel],
                    }
                    for item, score, channel in rows
                    if np.isfinite(score)
                ],
            }
            return codec.encode("recommendation_list", again)

        yield rank


def test_every_last_list_equals_the_reference_list_byte_for_byte(played, ranking):
    lists = last_lists(played)
    assert len(lists) > 0.95 * scenario.USERS
    for user, value in lists.items():
        packed = played.reference.folds[user].profile.pack()
        assert ranking(packed, decoded(value)) == value, user


def test_lists_made_by_events_equal_the_reference_list_byte_for_byte(played, ranking):
    checked = 0
    for _, value, _ in played.lists:
        published = decoded(value) if value is not None else None
        if published and published["cause"] == "event":
            packed = played.reference.packed.get(source_of(published))
            if packed is not None:
                assert ranking(packed, published) == value
                checked += 1
    assert checked > 500


def test_negative_control_another_profile_gives_another_list(played, ranking):
    user, value = next(iter(last_lists(played).items()))
    profile = copy.deepcopy(played.reference.folds[user].profile)
    profile.history.pop()
    profile.version -= 1
    assert ranking(profile.pack(), decoded(value)) != value


def test_forgotten_users_get_a_tombstone_with_its_epoch(played):
    tombstones = [(key, headers) for key, value, headers in played.lists if value is None]
    assert len(tombstones) == scenario.FORGOTTEN_USERS
    for _, headers in tombstones:
        assert headers["user_epoch"] == b"1"
        assert int(headers["job_epoch"]) == played.job["job_epoch"]


def test_a_bought_or_hidden_item_is_never_listed(played):
    for user, value in last_lists(played).items():
        excluded = set(played.reference.folds[user].profile.excluded)
        listed = {item_hash(item["item_id"]) for item in decoded(value)["items"]}
        assert not listed & excluded, user


def dropped(records: list[Record], at: int) -> list[Record]:
    return records[:at] + records[at + 1 :]


def doubled(records: list[Record], at: int) -> list[Record]:
    """The event once more under another id and at an offset of its own."""
    record = records[at]
    event = codec.decode("user_event", record.value) | {"event_id": "doubled"}
    place = record.place._replace(offset=10**9)
    again = record._replace(place=place, value=codec.encode("user_event", event))
    return [*records[: at + 1], again, *records[at + 1 :]]


def changed(records: list[Record], at: int) -> list[Record]:
    """The same event, about another item."""
    return replaced(records, at, item_id="another")


def made_ancient(records: list[Record], at: int) -> list[Record]:
    """The same event, at a time that is refused."""
    return replaced(records, at, event_time=0)


def replaced(records: list[Record], at: int, **changes: object) -> list[Record]:
    event = codec.decode("user_event", records[at].value) | changes
    other = records[at]._replace(value=codec.encode("user_event", event))
    return [*records[:at], other, *records[at + 1 :]]


def tampered(played: Played, tamper: Callable[[list[Record], int], list[Record]]) -> Reference:
    """The reference of one user's records, after one applied event was tampered with."""
    user, at = an_applied_event(played)
    records = [record for record in chain(*played.phases) if record.key == user.encode()]
    reference = Reference(played.settings)
    reference.take(tamper(records, at))
    return reference


@pytest.mark.parametrize("tamper", [dropped, doubled, changed])
def test_negative_control_digests_tell_one_event(played, tamper):
    expected = expected_states(played.reference) | expected_states(tampered(played, tamper))
    errors = digest_errors(expected, published_states(played))
    assert [error.split(":")[0] for error in errors] == [an_applied_event(played)[0]]


@pytest.mark.parametrize("tamper", [dropped, doubled, made_ancient])
def test_negative_control_conservation_tells_one_event(played, tamper):
    user = an_applied_event(played)[0].encode()
    own = {record.place for record in chain(*played.phases) if record.key == user}
    others = {p: o for p, o in played.reference.outcomes.items() if p not in own}
    errors = conservation_errors(others | tampered(played, tamper).outcomes, played.written)
    assert len(errors) == 1


def an_applied_event(played: Played) -> tuple[str, int]:
    """A user with many events, and the place of the newest one in history among their records."""
    folds = played.reference.folds
    user = max(folds, key=lambda name: folds[name].profile.version)
    records = [record for record in chain(*played.phases) if record.key == user.encode()]
    return user, max(at for at, one in enumerate(records) if enters_history(played, one))


def enters_history(played: Played, record: Record) -> bool:
    applied = played.reference.outcomes[record.place] is Outcome.APPLIED
    return applied and codec.decode("user_event", record.value)["event_type"] != "impression"


def test_negative_control_conservation_tells_one_offset(played):
    outcomes, written = played.reference.outcomes, played.written
    place, outcome = written[1000]
    other = "late" if outcome != "late" else "applied"
    assert conservation_errors(outcomes, [row for row in written if row[0] != place])  # lost
    assert conservation_errors(outcomes, [*written, (place, other)])  # two outcomes
    assert not conservation_errors(outcomes, [*written, (place, outcome)])  # a harmless repetition

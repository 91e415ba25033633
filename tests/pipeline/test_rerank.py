"""Orders for those whose newest list is of an earlier engine, at their pace."""

from __future__ import annotations

import pytest

from engines.registry import Registry
from pipeline import framing, kafka
from pipeline.config import Settings
from pipeline.rerank import rerank_idle
from pipeline.sender import new_producer
from schemas import codec
from schemas.errors import EngineError
from tests.engines.examples import events, fit
from tests.pipeline.test_consume import record

pytestmark = pytest.mark.real


def publish(settings: Settings, *lists: tuple[str, int, int]) -> None:
    """Lists of (user, version, engine_seq); a version of 0 is a tombstone."""
    encoder = framing.encoder(settings, "recommendation_list")
    producer = new_producer(settings)
    for user, version, seq in lists:
        value = encoder.encode(record(user, version, engine_seq=seq)) if version else None
        headers = [] if version else [("job_epoch", b"1"), ("user_epoch", b"1")]
        topic = settings.kafka.recommendations_topic
        producer.produce(topic, value, user.encode(), headers=headers)
    producer.flush()


def ordered(settings: Settings) -> list[str]:
    """Whom orders were sent for."""
    found = []
    for message in kafka.read_to_end(settings, settings.kafka.control_topic):
        order = codec.decode("control", message.value())
        assert order["action"] == "rerank"
        assert message.key() == order["user_id"].encode()
        found.append(order["user_id"])
    return sorted(found)


def activate(settings: Settings, times: int) -> None:
    registry = Registry(settings.engine.store)
    registry.add(fit(events("abcd", "abd")).draft(batch=2, k=3), "tiny")
    for _ in range(times):
        registry.activate("tiny")


class Clock:
    now = 5.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


def test_who_has_a_list_of_an_earlier_engine_is_ordered_one(settings: Settings) -> None:
    activate(settings, times=3)
    publish(
        settings,
        *[("old", 1, 1), ("old", 2, 2)],
        *[("new", 1, 2), ("new", 2, 3)],
        *[("late", 2, 3), ("late", 1, 1)],  # an older list that came afterwards
        *[("forgotten", 1, 1), ("forgotten", 0, 0)],
        *[(f"user-{number}", 1, 1) for number in range(9)],
    )
    clock = Clock()
    told = rerank_idle(settings, 4.0, None, clock, clock.sleep)
    assert told == {"engine": "tiny@1", "engine_seq": 3, "users": 12, "ordered": 10}
    assert ordered(settings) == ["old", *[f"user-{number}" for number in range(9)]]
    assert clock.now == pytest.approx(5.0 + 9 / 4)  # ten orders, the first one at once


def test_nobody_is_ordered_twice_what_he_has(settings: Settings) -> None:
    activate(settings, times=1)
    publish(settings, ("ann", 1, 1))
    assert rerank_idle(settings, 100.0)["ordered"] == 0
    assert ordered(settings) == []


def test_without_an_active_engine_nothing_is_ordered(settings: Settings) -> None:
    publish(settings, ("ann", 1, 1))
    with pytest.raises(EngineError, match="no engine is active"):
        rerank_idle(settings, 100.0)
    assert ordered(settings) == []

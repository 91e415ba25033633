from __future__ import annotations

from collections.abc import Callable
from itertools import count
from time import monotonic

import pytest

from pipeline import kafka
from pipeline.config import Settings, load_settings
from pipeline.sections import KafkaSettings
from pipeline.topics import check_topics, ensure_topics, topics_of
from schemas.errors import KafkaError

_names = count(1)


def with_kafka(settings: Settings, **changes: object) -> Settings:
    changed = settings.kafka.model_copy(update=changes)
    return settings.model_copy(update={"kafka": changed})


def test_the_audit_topic_is_made_only_if_it_is_named() -> None:
    names = [topic.name for topic in topics_of(KafkaSettings())]
    assert names == ["events", "control", "recommendations", "events.dlq"]
    assert topics_of(KafkaSettings(audit_topic="audit"))[-1].name == "audit"


def test_no_broker_is_told_soon_with_the_fix(free_ports: Callable[[int], list[int]]) -> None:
    (port,) = free_ports(1)
    flags = {"kafka.bootstrap_servers": f"127.0.0.1:{port}"}
    began = monotonic()
    with pytest.raises(KafkaError, match="No Kafka broker answers") as error:
        ensure_topics(load_settings(flags=flags, environ={}))
    assert monotonic() - began < 8
    assert "headrace up" in error.value.fix
    assert "Connection refused" in error.value.received


@pytest.mark.real
class TestTopics:
    @pytest.fixture
    def fresh(self, broker_settings: Settings) -> Settings:
        """Settings whose topics do not exist."""
        number = next(_names)
        return with_kafka(
            broker_settings,
            events_topic=f"fresh-events-{number}",
            control_topic=f"fresh-control-{number}",
            recommendations_topic=f"fresh-recommendations-{number}",
            dead_letters_topic=f"fresh-dlq-{number}",
            partitions=2,
        )

    def test_are_created_once_and_then_found(self, fresh: Settings) -> None:
        names = [topic.name for topic in topics_of(fresh.kafka)]
        assert ensure_topics(fresh) == {"created": names, "existing": []}
        assert ensure_topics(fresh) == {"created": [], "existing": names}
        check_topics(fresh)
        assert kafka.partitions_of(fresh.kafka, fresh.kafka.events_topic) == 2

    def test_that_are_missing_fail_the_check_by_name(self, fresh: Settings) -> None:
        with pytest.raises(KafkaError, match="Topics are missing") as error:
            check_topics(fresh)
        assert fresh.kafka.control_topic in error.value.received
        assert "headrace topics" in error.value.fix
        with pytest.raises(KafkaError, match="There is no topic"):
            kafka.partitions_of(fresh.kafka, fresh.kafka.events_topic)

    def test_with_another_number_of_partitions_are_refused(self, fresh: Settings) -> None:
        ensure_topics(fresh)
        with pytest.raises(KafkaError, match="number of partitions") as error:
            ensure_topics(with_kafka(fresh, partitions=3))
        assert (error.value.expected[0], error.value.received) == ("3", "2")

    def test_that_are_not_compacted_cannot_hold_lists(self, fresh: Settings) -> None:
        ensure_topics(fresh)
        swapped = with_kafka(
            fresh,
            recommendations_topic=fresh.kafka.dead_letters_topic,
            dead_letters_topic=f"{fresh.kafka.dead_letters_topic}-2",
        )
        with pytest.raises(KafkaError, match="cleaned up the wrong way") as error:
            ensure_topics(swapped)
        assert error.value.expected == "cleanup.policy=compact"
        assert error.value.received == "cleanup.policy=delete"

    def test_a_topic_made_anew_has_another_id(self, fresh: Settings) -> None:
        ensure_topics(fresh)
        events, control = fresh.kafka.events_topic, fresh.kafka.control_topic
        same = kafka.topic_id(fresh.kafka, events)
        assert kafka.topic_id(fresh.kafka, events) == same
        assert kafka.topic_id(fresh.kafka, control) != same

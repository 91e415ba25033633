from __future__ import annotations

from collections.abc import Callable
from itertools import count
from time import monotonic

import pytest
from pydantic import SecretStr

from pipeline import kafka
from pipeline.config import Settings, load_settings
from pipeline.sections import KafkaSettings
from schemas.errors import KafkaError

_names = count(1)


def with_kafka(settings: Settings, **changes: object) -> Settings:
    changed = settings.kafka.model_copy(update=changes)
    return settings.model_copy(update={"kafka": changed})


def test_producers_partition_as_java_does_and_lose_nothing() -> None:
    config = kafka.producer_config(KafkaSettings())
    assert config["partitioner"] == "murmur2_random"
    assert config["acks"] == "all"
    assert config["enable.idempotence"] is True


def test_clients_are_told_who_we_are_only_if_we_are_somebody() -> None:
    assert "sasl.username" not in kafka.client_config(KafkaSettings())
    settings = KafkaSettings(
        security_protocol="SASL_SSL",
        sasl_mechanism="PLAIN",
        sasl_username="ranker",
        sasl_password=SecretStr("hunter2"),
    )
    config = kafka.client_config(settings)
    assert (config["sasl.username"], config["sasl.password"]) == ("ranker", "hunter2")


def test_the_audit_topic_is_made_only_if_it_is_named() -> None:
    names = [topic.name for topic in kafka.topics_of(KafkaSettings())]
    assert names == ["events", "control", "recommendations", "events.dlq"]
    assert kafka.topics_of(KafkaSettings(audit_topic="audit"))[-1].name == "audit"


def test_no_broker_is_told_soon_with_the_fix(free_ports: Callable[[int], list[int]]) -> None:
    (port,) = free_ports(1)
    flags = {"kafka.bootstrap_servers": f"127.0.0.1:{port}"}
    began = monotonic()
    with pytest.raises(KafkaError, match="No Kafka broker answers") as error:
        kafka.ensure_topics(load_settings(flags=flags, environ={}))
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
        names = [topic.name for topic in kafka.topics_of(fresh.kafka)]
        assert kafka.ensure_topics(fresh) == {"created": names, "existing": []}
        assert kafka.ensure_topics(fresh) == {"created": [], "existing": names}
        kafka.check_topics(fresh)
        assert kafka.partitions_of(fresh.kafka, fresh.kafka.events_topic) == 2

    def test_that_are_missing_fail_the_check_by_name(self, fresh: Settings) -> None:
        with pytest.raises(KafkaError, match="Topics are missing") as error:
            kafka.check_topics(fresh)
        assert fresh.kafka.control_topic in error.value.received
        assert "headrace topics" in error.value.fix
        with pytest.raises(KafkaError, match="There is no topic"):
            kafka.partitions_of(fresh.kafka, fresh.kafka.events_topic)

    def test_with_another_number_of_partitions_are_refused(self, fresh: Settings) -> None:
        kafka.ensure_topics(fresh)
        with pytest.raises(KafkaError, match="number of partitions") as error:
            kafka.ensure_topics(with_kafka(fresh, partitions=3))
        assert (error.value.expected[0], error.value.received) == ("3", "2")

    def test_that_are_not_compacted_cannot_hold_lists(self, fresh: Settings) -> None:
        kafka.ensure_topics(fresh)
        swapped = with_kafka(
            fresh,
            recommendations_topic=fresh.kafka.dead_letters_topic,
            dead_letters_topic=f"{fresh.kafka.dead_letters_topic}-2",
        )
        with pytest.raises(KafkaError, match="cleaned up the wrong way") as error:
            kafka.ensure_topics(swapped)
        assert error.value.expected == "cleanup.policy=compact"
        assert error.value.received == "cleanup.policy=delete"

    def test_a_topic_made_anew_has_another_id(self, fresh: Settings) -> None:
        kafka.ensure_topics(fresh)
        events, control = fresh.kafka.events_topic, fresh.kafka.control_topic
        same = kafka.topic_id(fresh.kafka, events)
        assert kafka.topic_id(fresh.kafka, events) == same
        assert kafka.topic_id(fresh.kafka, control) != same


@pytest.mark.real
def test_reading_to_the_end_gives_everything_and_a_key_only_its_partition(
    settings: Settings,
) -> None:
    from confluent_kafka import Producer

    topic = settings.kafka.events_topic
    assert list(kafka.read_to_end(settings, topic)) == []
    producer = Producer(kafka.producer_config(settings.kafka))
    for number in range(200):
        producer.produce(topic, b"%d" % number, b"user-%d" % (number % 20))
    producer.flush()

    everything = list(kafka.read_to_end(settings, topic))
    times_ms = sorted(message.timestamp()[1] for message in everything)
    assert len(list(kafka.read_to_end(settings, topic, since_ms=times_ms[0]))) == 200
    assert list(kafka.read_to_end(settings, topic, since_ms=times_ms[-1] + 1)) == []
    assert sorted(int(message.value()) for message in everything) == list(range(200))
    of_user = list(kafka.read_to_end(settings, topic, key=b"user-7"))
    assert len({message.partition() for message in of_user}) == 1
    mine = [int(message.value()) for message in of_user if message.key() == b"user-7"]
    assert mine == list(range(7, 200, 20))

from __future__ import annotations

import pytest
from pydantic import SecretStr

from pipeline import kafka
from pipeline.config import Settings
from pipeline.sections import KafkaSettings


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


@pytest.mark.parametrize("code", ["_TRANSPORT", "_SSL"])
def test_a_refused_certificate_is_told_by_either_name(code: str) -> None:
    from confluent_kafka import KafkaError

    text = "127.0.0.1:9094/bootstrap: SSL handshake failed: certificate verify failed"
    told = kafka.wrapped(KafkaError(getattr(KafkaError, code), text), KafkaSettings())
    assert "kafka.ssl_ca_location" in str(told)
    lost = kafka.wrapped(KafkaError(KafkaError._TRANSPORT, "Disconnected"), KafkaSettings())
    assert "kafka.ssl_ca_location" not in str(lost)


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


@pytest.mark.real
def test_what_a_group_has_committed_is_told_without_joining_it(settings: Settings) -> None:
    from confluent_kafka import Consumer, TopicPartition

    topic = settings.kafka.events_topic
    places = [TopicPartition(topic, partition) for partition in range(2)]
    before = kafka.committed(settings.kafka, "a-group", places)
    assert all(place.offset < 0 for place in before)
    member = Consumer(kafka.consumer_config(settings.kafka) | {"group.id": "a-group"})
    member.commit(offsets=[TopicPartition(topic, 1, 17)], asynchronous=False)
    found = kafka.committed(settings.kafka, "a-group", places)
    assert found[0].offset < 0
    assert found[1].offset == 17
    member.close()

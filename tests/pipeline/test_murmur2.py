"""Where a key goes is a promise to every other client. The vectors are those of Kafka's tests."""

from __future__ import annotations

import pytest

from pipeline.config import Settings
from pipeline.kafka import producer_config
from pipeline.murmur2 import murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_vectors_of_kafka(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed % 2**32


@pytest.mark.real
def test_a_real_producer_agrees(settings: Settings) -> None:
    from confluent_kafka import Producer

    keys = [f"user-{n}-é{'x' * (n % 9)}".encode() for n in range(500)]
    wrong: list[bytes] = []

    def check(error: object, message: object) -> None:
        assert error is None
        key, partition = message.key(), message.partition()  # type: ignore[attr-defined]
        if partition != partition_of(key, settings.kafka.partitions):
            wrong.append(key)

    producer = Producer(producer_config(settings.kafka))
    for key in keys:
        producer.produce(settings.kafka.events_topic, b"", key, on_delivery=check)
    producer.flush()
    assert wrong == []

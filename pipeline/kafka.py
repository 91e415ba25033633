"""How Headrace speaks to Kafka: client settings, readers, questions about a topic.

Every producer partitions alike (murmur2 of the key, as Java does), so a user's events, orders and
lists lie in the same partition of each topic; that is why the number of partitions never changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipeline.murmur2 import partition_of
from pipeline.security import FIXES
from schemas.errors import KafkaError

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message, TopicPartition
    from confluent_kafka import KafkaError as Reason
    from confluent_kafka.admin import AdminClient

    from pipeline.config import Settings
    from pipeline.sections import KafkaSettings

ANSWER_S = 5.0
"""How long a broker may take to answer before it counts as unreachable."""
SILENCE_S = 10.0
"""After how long without a word a broker is given up while reading."""
NO_BROKER = "`headrace up` starts a local broker; or mend kafka.bootstrap_servers"
NO_TOPIC = (
    "`headrace topics` creates the topics; or mend the kafka.*_topic settings; with ACLs: "
    "those that kafka.sasl_username may not describe are hidden, see deploy/acls.md"
)


def client_config(kafka: KafkaSettings) -> dict[str, Any]:
    """Where the brokers are and who we are, for any client of librdkafka."""
    given = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "security.protocol": kafka.security_protocol,
        "sasl.mechanism": kafka.sasl_mechanism,
        "sasl.username": kafka.sasl_username,
        "sasl.password": kafka.sasl_password.get_secret_value() if kafka.sasl_password else "",
        "ssl.ca.location": kafka.ssl_ca_location,
        "ssl.certificate.location": kafka.ssl_keystore_location,
        "ssl.key.location": kafka.ssl_keystore_location,
    }
    # librdkafka's own log would write to stderr; its errors come back as exceptions all the same.
    return {name: value for name, value in given.items() if value} | {"log_level": 0}


def producer_config(kafka: KafkaSettings) -> dict[str, Any]:
    """A producer that loses, doubles and reorders nothing."""
    return client_config(kafka) | {
        "partitioner": "murmur2_random",
        "enable.idempotence": True,
        "acks": "all",
        "compression.type": "lz4",
        "linger.ms": 5,
        "delivery.timeout.ms": 30_000,
    }


def consumer_config(kafka: KafkaSettings) -> dict[str, Any]:
    """A consumer that is told its partitions and commits nothing."""
    return client_config(kafka) | {
        "group.id": "headrace-reader",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "fetch.wait.max.ms": 50,
    }


def check_transactions(settings: Settings) -> None:
    """Whether the brokers let transactions stay open as long as an exactly-once job wants.

    Raises:
        KafkaError: no broker answers, or ``job.transaction_timeout_ms`` is more than they grant.
    """
    from confluent_kafka.admin import ConfigResource, ResourceType

    if settings.job.delivery != "exactly-once":
        return
    with reaching(settings.kafka) as admin:
        broker = next(iter(admin.list_topics(timeout=ANSWER_S).brokers))
        resource = ConfigResource(ResourceType.BROKER, str(broker))
        answers = admin.describe_configs([resource], request_timeout=ANSWER_S)
        granted_ms = int(answers[resource].result()["transaction.max.timeout.ms"].value)
    if settings.job.transaction_timeout_ms > granted_ms:
        raise KafkaError(
            "The brokers do not grant transactions that long",
            expected=f"job.transaction_timeout_ms of at most {granted_ms}, "
            "the brokers' transaction.max.timeout.ms",
            received=str(settings.job.transaction_timeout_ms),
            fix=f"job.transaction_timeout_ms = {granted_ms}, or raise the brokers' limit",
        )


def reader(
    settings: Settings,
    topics: Iterable[str],
    *,
    key: bytes | None = None,
    from_end: bool = False,
    since_ms: int | None = None,
) -> Consumer:
    """A consumer of whole topics, from their beginning; commits nothing. Close it after use.

    Args:
        settings: where the topics are.
        topics: names of existing topics.
        key: read only the partitions in which records with this key lie.
        from_end: read only what comes from now on.
        since_ms: read each partition from its first record with this timestamp or a later one.
    """
    from confluent_kafka import (
        OFFSET_BEGINNING,
        OFFSET_END,
        Consumer,
        KafkaException,
        TopicPartition,
    )

    start = OFFSET_END if from_end else OFFSET_BEGINNING
    places = []
    for topic in topics:
        count = partitions_of(settings.kafka, topic)
        chosen = range(count) if key is None else [partition_of(key, count)]
        places += [TopicPartition(topic, partition, start) for partition in chosen]
    consumer = Consumer(consumer_config(settings.kafka))
    if since_ms is not None:
        times = [TopicPartition(place.topic, place.partition, since_ms) for place in places]
        try:
            places = consumer.offsets_for_times(times, timeout=ANSWER_S)
        except KafkaException as error:
            consumer.close()
            raise wrapped(error.args[0], settings.kafka) from error
    consumer.assign(places)
    return consumer


def committed(
    kafka: KafkaSettings, group: str, places: list[TopicPartition]
) -> list[TopicPartition]:
    """What a group has committed of partitions, below 0 where nothing.

    By a consumer that never joins the group: librdkafka's admin client reads a null pointer when
    the group's coordinator is still being chosen or loaded
    (confluentinc/confluent-kafka-javascript, issue 374).

    Raises:
        KafkaError: no broker answers, or the group may not be read.
    """
    from confluent_kafka import Consumer, KafkaException

    consumer = Consumer(consumer_config(kafka) | {"group.id": group})
    try:
        found: list[TopicPartition] = consumer.committed(places, timeout=ANSWER_S)
    except KafkaException as error:
        raise wrapped(error.args[0], kafka) from error
    finally:
        consumer.close()
    return found


def read_to_end(
    settings: Settings, topic: str, *, key: bytes | None = None, since_ms: int | None = None
) -> Iterator[Message]:
    """Every record of a topic up to its present end; ``key`` and ``since_ms`` as in `reader`."""
    from confluent_kafka import KafkaError as Reason

    consumer = reader(settings, [topic], key=key, since_ms=since_ms)
    unfinished = len(consumer.assignment())
    try:
        while unfinished:
            message = consumer.poll(SILENCE_S)
            if message is None:
                raise KafkaError(
                    f"Topic {topic} fell silent before its end",
                    expected="records, or the end of the topic",
                    received=f"nothing for {SILENCE_S:.0f} s",
                    fix=NO_BROKER,
                )
            if message.error() is None:
                yield message
            elif message.error().code() == Reason._PARTITION_EOF:
                unfinished -= 1
            else:
                raise wrapped(message.error(), settings.kafka)
    finally:
        consumer.close()


def end_offset(kafka: KafkaSettings, topic: str) -> int:
    """The sum of the end offsets of a topic's partitions: records ever written to it."""
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import OffsetSpec

    with reaching(kafka) as admin:
        # One client for both: a new one may find no leaders for its first question.
        places = [TopicPartition(topic, at) for at in range(_partitions(admin, kafka, topic))]
        ends = admin.list_offsets({place: OffsetSpec.latest() for place in places})
        return sum(int(end.result().offset) for end in ends.values())


def partitions_of(kafka: KafkaSettings, topic: str) -> int:
    """How many partitions a topic has.

    Raises:
        KafkaError: no broker answers, or there is no such topic.
    """
    with reaching(kafka) as admin:
        return _partitions(admin, kafka, topic)


def _partitions(admin: AdminClient, kafka: KafkaSettings, topic: str) -> int:
    # Asking for all topics: asking for one may create it on some clusters.
    present = admin.list_topics(timeout=ANSWER_S).topics
    if topic not in present:
        raise KafkaError(
            f"There is no topic {topic}",
            expected=f"topic {topic} on {kafka.bootstrap_servers}",
            received=", ".join(sorted(name for name in present if name[:2] != "__")) or "no topics",
            fix=NO_TOPIC,
        )
    return len(present[topic].partitions)


def topic_id(kafka: KafkaSettings, topic: str) -> str:
    """What tells a topic from one of the same name that was deleted, or is elsewhere.

    Raises:
        KafkaError: no broker answers, or there is no such topic.
    """
    from confluent_kafka import TopicCollection

    partitions_of(kafka, topic)
    with reaching(kafka) as admin:
        described = admin.describe_topics(TopicCollection([topic]), request_timeout=ANSWER_S)
        return str(described[topic].result().topic_id)


@contextmanager
def reaching(kafka: KafkaSettings) -> Iterator[AdminClient]:
    """An admin client whose errors become KafkaError."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    told: list[Reason] = []
    admin = AdminClient(client_config(kafka) | {"error_cb": told.append})
    try:
        yield admin
    except KafkaException as error:
        admin.poll(0)
        raise wrapped(told[0] if told else error.args[0], kafka) from error


def _kind(reason: Reason) -> str:
    """Its name; librdkafka calls a refused certificate a lost connection now and then."""
    return "_SSL" if "certificate verify failed" in reason.str() else str(reason.name())


def wrapped(reason: Reason, kafka: KafkaSettings) -> KafkaError:
    """An error of librdkafka in Headrace's words."""
    unreachable = {"_TRANSPORT", "_ALL_BROKERS_DOWN", "_TIMED_OUT", "_RESOLVE"}
    if reason.name() in unreachable:
        return KafkaError(
            "No Kafka broker answers",
            expected=f"a broker at {kafka.bootstrap_servers} that speaks {kafka.security_protocol}",
            received=reason.str(),
            fix=FIXES.get(_kind(reason), NO_BROKER),
        )
    return KafkaError(
        "Kafka refused",
        expected=f"the request to be granted by {kafka.bootstrap_servers}",
        received=f"{reason.name()}: {reason.str()}",
        fix=FIXES.get(reason.name(), "see the error's name in Kafka's documentation"),
    )

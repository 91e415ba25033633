"""What the user may do with the topics, asked before anything is started or sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pipeline import kafka
from pipeline.security import UNGRANTED, flink_properties
from schemas.errors import KafkaError

if TYPE_CHECKING:
    from pipeline.config import Settings
    from pipeline.sections import KafkaSettings

TRANSACTIONS_WITHIN_S = 30.0
"""A cluster's first transaction waits until the topic of transactions is made."""


def check_job_rights(settings: Settings) -> None:
    """Whether the job may read its input and write its output as it must.

    Raises:
        SettingsError: Flink cannot be told who we are.
        KafkaError: as `check_rights`.
    """
    flink_properties(settings.kafka)
    topics = settings.kafka
    outputs = (topics.recommendations_topic, topics.dead_letters_topic, topics.audit_topic)
    check_rights(
        topics, reads=(topics.events_topic, topics.control_topic), writes=filter(None, outputs)
    )
    if settings.job.delivery == "exactly-once":
        _try_transactions(settings)


def check_rights(
    settings: KafkaSettings, *, reads: Iterable[str] = (), writes: Iterable[str] = ()
) -> None:
    """Whether the user may read from and write to these topics, which exist.

    Raises:
        KafkaError: no broker answers, or ACLs are missing.
    """
    from confluent_kafka import TopicCollection
    from confluent_kafka.admin import AclOperation

    needed = dict.fromkeys(reads, AclOperation.READ) | dict.fromkeys(writes, AclOperation.WRITE)
    with kafka.reaching(settings) as admin:
        answers = admin.describe_topics(
            TopicCollection(list(needed)),
            include_authorized_operations=True,
            request_timeout=kafka.ANSWER_S,
        )
        granted = {topic: answers[topic].result().authorized_operations for topic in needed}
    missing = [
        f"{right.name} {topic}" for topic, right in needed.items() if right not in granted[topic]
    ]
    if missing:
        raise KafkaError(
            "Kafka's ACLs are missing rights",
            expected=", ".join(f"{right.name} {topic}" for topic, right in needed.items()),
            received=f"no right to {', '.join(missing)} for {settings.sasl_username or 'anybody'}",
            fix=UNGRANTED,
        )


def _try_transactions(settings: Settings) -> None:
    """A right to transactional ids cannot be asked about, and a job without it starts for ever."""
    from confluent_kafka import KafkaException, Producer

    own = {"transactional.id": f"{settings.job.name}-check"}
    producer = Producer(kafka.producer_config(settings.kafka) | own)
    try:
        producer.init_transactions(TRANSACTIONS_WITHIN_S)
    except KafkaException as error:
        raise kafka.wrapped(error.args[0], settings.kafka) from error

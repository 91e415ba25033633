"""The topics of a job: made where they are missing, checked where they exist."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline import kafka as access
from pipeline.kafka import NO_TOPIC, reaching
from schemas.errors import KafkaError

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

    from pipeline.config import Settings
    from pipeline.sections import KafkaSettings


@dataclass(frozen=True)
class Topic:
    """A topic as it must be. Settings that are not named here are the cluster's business."""

    name: str
    config: dict[str, str]


def topics_of(kafka: KafkaSettings) -> list[Topic]:
    """The topics of a job, in the order in which records pass them."""
    plain = {"cleanup.policy": "delete"}
    topics = [
        Topic(kafka.events_topic, plain),
        # Orders to forget outlive the events that they are about.
        Topic(kafka.control_topic, plain | {"retention.ms": "-1"}),
        Topic(kafka.recommendations_topic, {"cleanup.policy": "compact"}),
        Topic(kafka.dead_letters_topic, plain),
    ]
    return topics + ([Topic(kafka.audit_topic, plain)] if kafka.audit_topic else [])


def ensure_topics(settings: Settings) -> dict[str, list[str]]:
    """Creates the topics that are missing and checks those that exist.

    Returns:
        The names ``created`` and those found ``existing``.

    Raises:
        KafkaError: no broker answers, a topic is not as it must be or cannot be created.
    """
    with reaching(settings.kafka) as admin:
        existing, missing = _look(admin, settings.kafka)
        _create(admin, missing, settings.kafka)
    return {"created": [t.name for t in missing], "existing": [t.name for t in existing]}


def check_topics(settings: Settings) -> None:
    """Like `ensure_topics`, but a missing topic is an error."""
    with reaching(settings.kafka) as admin:
        _, missing = _look(admin, settings.kafka)
    if missing:
        raise KafkaError(
            "Topics are missing",
            expected=f"topics {', '.join(t.name for t in topics_of(settings.kafka))}",
            received=f"no {', '.join(t.name for t in missing)}",
            fix=NO_TOPIC,
        )


def _look(admin: AdminClient, kafka: KafkaSettings) -> tuple[list[Topic], list[Topic]]:
    """Our topics that exist, checked, and those that do not."""
    present = admin.list_topics(timeout=access.ANSWER_S).topics
    existing = [topic for topic in topics_of(kafka) if topic.name in present]
    missing = [topic for topic in topics_of(kafka) if topic.name not in present]
    for topic in existing:
        _check_partitions(topic.name, len(present[topic.name].partitions), kafka.partitions)
    _check_policies(admin, existing)
    return existing, missing


def _check_partitions(topic: str, count: int, wanted: int) -> None:
    if count != wanted:
        raise KafkaError(
            f"Topic {topic} has another number of partitions",
            expected=f"{wanted} (kafka.partitions), the same for all topics",
            received=str(count),
            fix=f"kafka.partitions = {count} if all topics have as many, or another topic name",
        )


def _check_policies(admin: AdminClient, topics: list[Topic]) -> None:
    from confluent_kafka.admin import ConfigResource, ResourceType

    resources = {ConfigResource(ResourceType.TOPIC, topic.name): topic for topic in topics}
    if not resources:
        return
    for resource, answer in admin.describe_configs(
        list(resources), request_timeout=access.ANSWER_S
    ).items():
        topic = resources[resource]
        wanted, found = topic.config["cleanup.policy"], answer.result()["cleanup.policy"].value
        if found != wanted:
            raise KafkaError(
                f"Topic {topic.name} is cleaned up the wrong way",
                expected=f"cleanup.policy={wanted}",
                received=f"cleanup.policy={found}",
                fix="another topic name, or `kafka-configs --alter --entity-type topics "
                f"--entity-name {topic.name} --add-config cleanup.policy={wanted}`",
            )


def _create(admin: AdminClient, topics: list[Topic], kafka: KafkaSettings) -> None:
    from confluent_kafka.admin import NewTopic

    if not topics:
        return
    wanted = [
        NewTopic(t.name, kafka.partitions, kafka.replication_factor, config=t.config)
        for t in topics
    ]
    for made in admin.create_topics(wanted, request_timeout=access.ANSWER_S).values():
        made.result()
    _wait_until_known(admin, {topic.name for topic in topics})


def _wait_until_known(admin: AdminClient, names: set[str]) -> None:
    """The controller answers a little before the brokers have heard of a new topic."""
    deadline = time.monotonic() + access.ANSWER_S
    while missing := names - admin.list_topics(timeout=access.ANSWER_S).topics.keys():
        if time.monotonic() > deadline:
            raise KafkaError(
                "Topics were created but do not appear",
                expected=f"{', '.join(sorted(names))} within {access.ANSWER_S:.0f} s",
                received=f"no {', '.join(sorted(missing))}",
                fix="see whether the brokers are overloaded, then run the same command again",
            )
        time.sleep(0.02)

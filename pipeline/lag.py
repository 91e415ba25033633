"""How far the job is behind the topics that it reads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pipeline import kafka as access
from pipeline.kafka import partitions_of, reaching
from pipeline.rest import FlinkRest

if TYPE_CHECKING:
    from pipeline.config import Settings

CURRENT_OFFSET = re.compile(r"\.topic\.(.+)\.partition\.(\d+)\.currentOffset$")


def lag_records(settings: Settings, rest: FlinkRest, job_id: str) -> int:
    """Records of the events and control topics that the job has not read yet.

    A position is the newer of two: what the consumer group has committed, as old as the newest
    checkpoint, and what the task reports, some seconds old and missing until it has read a record.

    Raises:
        KafkaError: no broker answers.
    """
    reported = reported_offsets(rest, job_id)
    committed, ends = offsets(settings)
    positions = {
        place: max(committed.get(place, 0), reported.get(place, -1) + 1, 0) for place in ends
    }
    return sum(max(end - positions[place], 0) for place, end in ends.items())


def reported_offsets(rest: FlinkRest, job_id: str) -> dict[tuple[str, int], int]:
    """The last offset that a task has read, by topic and partition."""
    found = {}
    for vertex in rest.get(f"/jobs/{job_id}")["vertices"]:
        metrics = f"/jobs/{job_id}/vertices/{vertex['id']}/metrics"
        names = {one["id"]: CURRENT_OFFSET.search(one["id"]) for one in rest.get(metrics)}
        wanted = [name for name, match in names.items() if match]
        values = rest.get(f"{metrics}?get={','.join(wanted)}") if wanted else []
        for one in values:
            match = names[one["id"]]
            assert match is not None
            found[match[1], int(match[2])] = int(one["value"])
    return found


def offsets(settings: Settings) -> tuple[dict[tuple[str, int], int], dict[tuple[str, int], int]]:
    """Committed offsets of the job's consumer group, and end offsets, by topic and partition."""
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import OffsetSpec

    topics = (settings.kafka.events_topic, settings.kafka.control_topic)
    places = [
        TopicPartition(topic, partition)
        for topic in topics
        for partition in range(partitions_of(settings.kafka, topic))
    ]
    committed = access.committed(settings.kafka, settings.job.name, places)
    with reaching(settings.kafka) as admin:
        newest = {place: OffsetSpec.latest() for place in places}
        ends = admin.list_offsets(newest, request_timeout=access.ANSWER_S)
        return by_place(committed), {
            (place.topic, place.partition): int(end.result().offset) for place, end in ends.items()
        }


def by_place(partitions: list[Any]) -> dict[tuple[str, int], int]:
    return {(one.topic, one.partition): one.offset for one in partitions}

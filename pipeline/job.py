"""The Flink job. Read it from top to bottom: it is the picture in the README.

    events  ─┐
             ├─ decode ──ok──▶ by user ─▶ RollingProfile ─▶ rank (Python) ─▶ recommendations
    control ─┘     └──bad──────────────────────────────────────────────────▶ dead letters

One statement set, one hash exchange, one Python operator.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from engines.active import Active
from pipeline.config import Settings
from pipeline.flink import BACKFILL_WAIT_MS, create_table
from pipeline.framing import header, job_parameters
from pipeline.quarantine import suspects_folder
from pipeline.security import flink_properties
from udfs.engine import EngineSettings
from udfs.ranker import RankSettings
from udfs.trial import TrialSettings

if TYPE_CHECKING:
    from pyflink.table import StatementSet, TableEnvironment

SOURCE_COLUMNS = """
    record_key BYTES,
    record_value BYTES,
    topic STRING METADATA VIRTUAL,
    `partition` INT METADATA VIRTUAL,
    `offset` BIGINT METADATA VIRTUAL,
    `timestamp` TIMESTAMP_LTZ(3) METADATA VIRTUAL"""

SINK_COLUMNS = """
    record_key BYTES,
    record_value BYTES,
    headers MAP<STRING, BYTES> METADATA"""

DECODED = """
SELECT '{table}' AS stage, d.* FROM {function}(
    input => TABLE {table},
    uid => 'decode-{table}') AS d"""

GOOD = """
SELECT user_id, action, event_hash_high, event_hash_low, item_hash, event_type, event_time, amount,
       `partition` AS source_partition, `offset` AS source_offset
FROM decoded WHERE reason IS NULL"""

PROFILES = """
SELECT * FROM RollingProfile(
    input => TABLE good PARTITION BY user_id,
    uid => 'rolling-profile')"""

RANKED = """
SELECT user_id, headers, Rank_(user_id, request) AS answer
FROM profiles"""

# 1 is a list, 2 a tombstone; other answers have no value, which Kafka would read as a tombstone.
RECOMMENDATIONS = """
INSERT INTO recommendations
SELECT ENCODE(user_id, 'UTF-8'), ranked.answer.`value`, headers
FROM ranked WHERE ranked.answer.action IN (1, 2)"""

DEAD_LETTERS = """
INSERT INTO dead_letters
SELECT l.record_key, l.record_value, l.headers
FROM decoded,
LATERAL TABLE(DeadLetter(topic, `partition`, `offset`, `timestamp`, decoded.record_key,
    decoded.record_value, stage, reason, message)) AS l(record_key, record_value, headers)
WHERE reason IS NOT NULL"""

AUDIT = """
INSERT INTO audit
SELECT CAST(NULL AS BYTES),
       ENCODE(CONCAT_WS(',', CASE outcome WHEN 'control' THEN 'control' ELSE 'events' END,
                        CAST(source_partition AS STRING),
                        CAST(source_offset AS STRING), outcome), 'UTF-8'),
       CAST(NULL AS MAP<STRING, BYTES>)
FROM profiles"""


def declare(
    tables: TableEnvironment, settings: Settings, engine: Active, *, bounded: bool = False
) -> None:
    """Declare what the statements, or a plan compiled of them, refer to by name.

    Args:
        tables: a streaming table environment.
        settings: topics, limits and delivery guarantee.
        engine: the one to rank with.
        bounded: read to the present end of the topics and finish.
    """
    declare_functions(tables, settings, engine)
    declare_topics(tables, settings, bounded)


def declare_functions(tables: TableEnvironment, settings: Settings, engine: Active) -> None:
    """The functions, and what they are told."""
    from udfs.rank import rank

    told = parameters(settings, engine)
    tables.get_config().set("pipeline.global-job-parameters", json.dumps(told))
    for name in ("DecodeEvent", "DecodeControl", "RollingProfile", "DeadLetter"):
        tables.execute_sql(f"CREATE TEMPORARY FUNCTION {name} AS 'io.headrace.{name}'")
    tables.create_temporary_function("Rank_", rank(rank_settings(settings, engine)))


def declare_topics(tables: TableEnvironment, settings: Settings, bounded: bool) -> None:
    kafka = settings.kafka
    for table, topic in (("events", kafka.events_topic), ("control", kafka.control_topic)):
        options = source_options(settings, topic, bounded)
        tables.execute_sql(create_table(table, SOURCE_COLUMNS, options))
    for table, topic in (
        ("recommendations", kafka.recommendations_topic),
        ("dead_letters", kafka.dead_letters_topic),
        ("audit", kafka.audit_topic),
    ):
        if topic:
            options = sink_options(settings, topic, bounded)
            tables.execute_sql(create_table(table, SINK_COLUMNS, options))


def statements(tables: TableEnvironment, *, audit: bool) -> StatementSet:
    """The whole job as SQL, which names no setting: see `pipeline.plan`."""
    decoded = [
        DECODED.format(table=table, function=function)
        for table, function in (("events", "DecodeEvent"), ("control", "DecodeControl"))
    ]
    for name, query in (
        ("decoded", " UNION ALL ".join(decoded)),
        ("good", GOOD),
        ("profiles", PROFILES),
        ("ranked", RANKED),
    ):
        tables.execute_sql(f"CREATE TEMPORARY VIEW {name} AS {query}")
    together = tables.create_statement_set()
    for insert in (RECOMMENDATIONS, DEAD_LETTERS, *([AUDIT] if audit else [])):
        together.add_insert_sql(insert)
    return together


def parameters(settings: Settings, engine: Active) -> dict[str, str]:
    """What the Java functions and Flink's web page are told, as the job's parameters."""
    values = {
        **{f"decode.{name}": value for name, value in settings.decode.model_dump().items()},
        **{f"profile.{name}": value for name, value in settings.profile.model_dump().items()},
        **job_parameters(settings),
        "job.epoch": settings.job.epoch,
        "job.quarantine_after": settings.job.quarantine_after,
        "quarantine.folder": suspects_folder(settings),
        "audit": str(bool(settings.kafka.audit_topic)).lower(),
        "engine": engine.label,
        "engine_seq": engine.engine_seq,
    }
    return {f"headrace.{name}": str(value) for name, value in values.items()}


def source_options(settings: Settings, topic: str, bounded: bool) -> dict[str, object]:
    """Read from the beginning; a restored job goes on where its checkpoint says."""
    return {
        **connection(settings, topic),
        "properties.group.id": settings.job.name,
        "scan.startup.mode": "earliest-offset",
        "scan.bounded.mode": "latest-offset" if bounded else "unbounded",
        "scan.topic-partition-discovery.interval": "0 ms",
    }


def sink_options(settings: Settings, topic: str, bounded: bool) -> dict[str, object]:
    """Partition by murmur2 of the key, as all producers do: a user stays in one place."""
    options: dict[str, object] = {
        **connection(settings, topic),
        "sink.delivery-guarantee": settings.job.delivery,
        "properties.acks": "all",
        # A list that is fresh waits for no other; what comes meanwhile fills the next batch.
        "properties.linger.ms": BACKFILL_WAIT_MS if bounded else 0,
    }
    if settings.job.delivery == "exactly-once":
        options["sink.transactional-id-prefix"] = f"{settings.job.name}-{topic}"
        options["properties.transaction.timeout.ms"] = settings.job.transaction_timeout_ms
    return options


def connection(settings: Settings, topic: str) -> dict[str, object]:
    return {
        "connector": "kafka",
        "topic": topic,
        "properties.bootstrap.servers": settings.kafka.bootstrap_servers,
        **flink_properties(settings.kafka),
        "key.format": "raw",
        "key.fields": "record_key",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
    }


def rank_settings(settings: Settings, engine: Active) -> RankSettings:
    swap = settings.swap
    return RankSettings(
        engine=engine,
        opening=EngineSettings(
            store=settings.engine.store.resolve(),
            threads=settings.engine.threads,
            job_epoch=settings.job.epoch,
            list_header=header(settings, "recommendation_list"),
            backend=settings.engine.backend,
        ),
        trial=TrialSettings(
            shadow_batches=swap.shadow_batches,
            min_overlap=swap.min_overlap,
            max_latency_ms=swap.max_latency_ms,
            max_latency_ratio=swap.max_latency_ratio,
            probation_s=swap.probation_s,
        ),
        emit=settings.job.emit,
        metrics=settings.job.python_metrics,
        suspects=suspects_folder(settings),
    )

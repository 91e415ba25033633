"""The Flink job. Read it from top to bottom: it is the picture in the README.

    events  ─┐
             ├─ decode ──ok──▶ by user ─▶ RollingProfile ─▶ rank (Python) ─▶ recommendations
    control ─┘     └──bad──────────────────────────────────────────────────▶ dead letters

One statement set, one hash exchange, one Python operator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engines.registry import Active
from pipeline.config import Settings
from pipeline.flink import create_table, literal
from pipeline.sections import Section
from udfs.ranker import RankSettings

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
SELECT {stage} AS stage, d.* FROM {function}(
    input => TABLE {table},
    max_value_bytes => {max_value_bytes},
    min_event_time_ms => {min_event_time_ms},
    max_ahead_ms => {max_ahead_ms},
    uid => 'decode-{table}') AS d"""

GOOD = """
SELECT user_id, action, event_hash_high, event_hash_low, item_hash, event_type, event_time, amount,
       `partition` AS source_partition, `offset` AS source_offset
FROM decoded WHERE reason IS NULL"""

PROFILES = """
SELECT * FROM RollingProfile(
    input => TABLE good PARTITION BY user_id,
    allowed_lateness_ms => {allowed_lateness_ms},
    expire_after_ms => {expire_after_ms},
    audit => {audit},
    uid => 'rolling-profile')"""

RANKED = """
SELECT user_id, user_epoch,
       Rank_(user_id, action, profile, cause, event_time, source_partition, source_offset) AS answer
FROM profiles"""

# A tombstone has no value, so its epoch travels in a header.
RECOMMENDATIONS = """
INSERT INTO recommendations
SELECT ENCODE(user_id, 'UTF-8'), ranked.answer.`value`,
       CASE WHEN ranked.answer.action = 'tombstone'
            THEN MAP['user_epoch', ENCODE(CAST(user_epoch AS STRING), 'UTF-8'),
                     'job_epoch', ENCODE('{job_epoch}', 'UTF-8')] END
FROM ranked WHERE ranked.answer.action IN ('list', 'tombstone')"""

DEAD_LETTERS = """
INSERT INTO dead_letters
SELECT l.record_key, l.record_value, l.headers
FROM decoded,
LATERAL TABLE(DeadLetter(topic, `partition`, `offset`, `timestamp`, decoded.record_key,
    decoded.record_value, stage, reason, message, {dead_letter_limit_bytes}))
    AS l(record_key, record_value, headers)
WHERE reason IS NOT NULL"""

AUDIT = """
INSERT INTO audit
SELECT CAST(NULL AS BYTES),
       ENCODE(CONCAT_WS(',', CASE outcome WHEN 'control' THEN 'control' ELSE 'events' END,
                        CAST(source_partition AS STRING),
                        CAST(source_offset AS STRING), outcome), 'UTF-8'),
       CAST(NULL AS MAP<STRING, BYTES>)
FROM profiles"""


def build(
    tables: TableEnvironment, settings: Settings, engine: Active, *, bounded: bool = False
) -> StatementSet:
    """Declare the whole job.

    Args:
        tables: a streaming table environment.
        settings: topics, limits and delivery guarantee.
        engine: the one to rank with.
        bounded: read to the present end of the topics and finish.
    """
    declare_functions(tables, settings, engine)
    declare_topics(tables, settings, bounded)
    declare_flow(tables, settings)
    return statements(tables, settings)


def declare_functions(tables: TableEnvironment, settings: Settings, engine: Active) -> None:
    from udfs.rank import rank

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
            tables.execute_sql(create_table(table, SINK_COLUMNS, sink_options(settings, topic)))


def declare_flow(tables: TableEnvironment, settings: Settings) -> None:
    limits = bigints(settings.decode)
    decoded = [
        DECODED.format(stage=literal(table), table=table, function=function, **limits)
        for table, function in (("events", "DecodeEvent"), ("control", "DecodeControl"))
    ]
    profiles = PROFILES.format(
        audit=literal(bool(settings.kafka.audit_topic)),
        **bigints(settings.profile),
    )
    for name, query in (
        ("decoded", " UNION ALL ".join(decoded)),
        ("good", GOOD),
        ("profiles", profiles),
        ("ranked", RANKED),
    ):
        tables.execute_sql(f"CREATE TEMPORARY VIEW {name} AS {query}")


def bigints(section: Section) -> dict[str, str]:
    """Numbers as SQL arguments; the planner does not widen a small one by itself."""
    return {name: f"CAST({value} AS BIGINT)" for name, value in section.model_dump().items()}


def statements(tables: TableEnvironment, settings: Settings) -> StatementSet:
    together = tables.create_statement_set()
    together.add_insert_sql(RECOMMENDATIONS.format(job_epoch=settings.job.epoch))
    together.add_insert_sql(
        DEAD_LETTERS.format(dead_letter_limit_bytes=settings.decode.dead_letter_limit_bytes)
    )
    if settings.kafka.audit_topic:
        together.add_insert_sql(AUDIT)
    return together


def source_options(settings: Settings, topic: str, bounded: bool) -> dict[str, object]:
    """Read from the beginning; a restored job goes on where its checkpoint says."""
    return {
        **connection(settings, topic),
        "properties.group.id": settings.job.name,
        "scan.startup.mode": "earliest-offset",
        "scan.bounded.mode": "latest-offset" if bounded else "unbounded",
        "scan.topic-partition-discovery.interval": "0 ms",
    }


def sink_options(settings: Settings, topic: str) -> dict[str, object]:
    """Partition by murmur2 of the key, as all producers do: a user stays in one place."""
    options: dict[str, object] = {
        **connection(settings, topic),
        "sink.delivery-guarantee": settings.job.delivery,
        "properties.acks": "all",
        "properties.linger.ms": 2,
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
        "key.format": "raw",
        "key.fields": "record_key",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
    }


def rank_settings(settings: Settings, engine: Active) -> RankSettings:
    return RankSettings(
        store=settings.engine.store.resolve(),
        engine=engine,
        threads=settings.engine.threads,
        emit=settings.job.emit,
        job_epoch=settings.job.epoch,
        metrics=settings.job.python_metrics,
    )

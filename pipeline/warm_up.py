"""A job that warms the TaskManagers of a local cluster up, before a spare one is needed.

    made-up events ─▶ decode ─▶ RollingProfile ─▶ rank (Python) ─▶ nowhere

A JVM that never ran a job has most of Flink to load and to compile before it is of use: to take a
job over, a cold spare needed three times the CPU time of a warm one (23.6 s and 7.2 s). So each
free slot once runs the job's own statements, with an engine of its own, on events that Flink makes
up: neither a broker nor an active engine is asked for, and nothing of it is left but what Java
learned.

The command waits for it: in the background it would hold the slots that the next command asks for.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from deploy.local.cluster_config import ClusterFolder
from deploy.local.cluster_rest import NO_ANSWER
from engines.registry import Registry
from pipeline import flink, job
from pipeline.config import Settings, with_values
from pipeline.flink import create_table
from pipeline.jvm import jvm_errors
from pipeline.rest import ENDED, FlinkRest
from pipeline.sections import KafkaSettings, RegistrySettings
from pipeline.sources.synthetic import Shop, SyntheticSource
from pipeline.submit import remote, staged_packages
from pipeline.train import train_on
from schemas import codec
from schemas.errors import FlinkError

if TYPE_CHECKING:
    from pyflink.table import TableEnvironment

    from engines.active import Active

NAME = "headrace-warm-up"
EVENTS = 4_000
"""For each slot."""
WITHIN_S = 90.0
POLL_S = 0.2
BUNDLE_SIZE = 50
"""Small, as the bundles of a job that keeps up with its events: some hundreds for each slot."""
TIME_MS = 1_767_225_600_000
"""2026-01-01, of all events."""

EVENT_ID, USER_ID = "event-id", "user--id"
"""In the one encoded event, where each made-up one has eight digits."""

# The columns of `pipeline.job.SOURCE_COLUMNS`. Orders are not of the schema of events: they become
# dead letters, which are to be warm too.
MADE_UP = """
SELECT ENCODE(user_id, 'UTF-8') AS record_key,
       ENCODE(REPLACE(REPLACE(DECODE({event}, 'ISO-8859-1'), '{user_id}', user_id),
                      '{event_id}', LPAD(CAST(n AS STRING), 8, '0')),
              'ISO-8859-1') AS record_value,
       '{topic}' AS topic, 0 AS `partition`, n AS `offset`,
       TO_TIMESTAMP_LTZ({time}, 3) AS `timestamp`
FROM (SELECT n, LPAD(CAST(MOD(n, 200) AS STRING), 8, '0') AS user_id FROM numbers)
"""


def warm_up(settings: Settings, rest: FlinkRest, slots: int) -> float:
    """Run the job once in every free slot, and return when it is over.

    Args:
        settings: of the user's job.
        rest: of the JobManager.
        slots: how many are free.

    Returns:
        Seconds that it took.

    Raises:
        FlinkError: it failed, or took too long.
        one of NO_ANSWER: the JobManager is gone.
    """
    began = time.monotonic()
    own = own_settings(settings, slots)
    with jvm_errors(own):
        job_id = send(own, rest)
    try:
        wait_for_the_end(rest, job_id, slots)
    except BaseException:  # Ctrl-C too: it must not hold the slots
        with suppress(*NO_ANSWER):
            rest.cancel(job_id)
        raise
    return time.monotonic() - began


def own_settings(settings: Settings, slots: int) -> Settings:
    """The user's as far as they are about Flink; all files lie among the cluster's scratch files.

    No broker and no registry is named, for none is asked.
    """
    folder = ClusterFolder(settings.run_dir).tmp / "warm-up"
    return with_values(
        settings,
        {
            "run_dir": folder,
            "kafka": KafkaSettings(),
            "registry": RegistrySettings(),
            "engine.store": folder / "engines",
            "engine.backend": "onnx",  # its own engine has no plan for a GPU
            "job.name": NAME,
            "job.parallelism": slots,
            "job.state_dir": folder.as_uri(),
            "job.quarantine_dir": "",
            "job.bundle_size": BUNDLE_SIZE,
            "job.checkpoint_interval_ms": 1_000,
        },
    )


def send(settings: Settings, rest: FlinkRest) -> str:
    """Hand the job over; its id."""
    where = remote(rest, staged_packages(settings.run_dir / "flink" / "python"))
    # A failure is told, not tried again.
    tables = flink.table_environment(settings, where | {"restart-strategy.type": "none"})
    declare(tables, settings)
    client = job.statements(tables, audit=False).execute().get_job_client()
    return str(client.get_job_id())


def declare(tables: TableEnvironment, settings: Settings) -> None:
    """The tables of the job by their names, without Kafka, and its functions."""
    job.declare_functions(tables, settings, engine(settings))
    numbers = {
        "connector": "datagen",
        "fields.n.kind": "sequence",
        "fields.n.start": 0,
        "fields.n.end": EVENTS * settings.job.parallelism - 1,
    }
    tables.execute_sql(create_table("numbers", "n BIGINT", numbers))
    for topic in ("events", "control"):
        tables.execute_sql(f"CREATE TEMPORARY VIEW {topic} AS {made_up(topic)}")
    columns = job.SINK_COLUMNS.replace(" METADATA", "")
    for sink in ("recommendations", "dead_letters"):
        tables.execute_sql(create_table(sink, columns, {"connector": "blackhole"}))


def engine(settings: Settings) -> Active:
    """A small one: Java does not notice."""
    train_on(settings, "cooccurrence", SyntheticSource(shop=Shop(), count=1_000), NAME, NAME)
    # The one of an earlier warm-up may be active there; it need not be any better.
    return Registry(settings.engine.store).activate(NAME, force=True)


def made_up(topic: str) -> str:
    """The query of a topic's records."""
    event: dict[str, object] = {"event_id": EVENT_ID, "user_id": USER_ID, "item_id": "item"}
    event |= {"event_type": "view", "event_time": TIME_MS}
    encoded = codec.encode("user_event", event)
    return MADE_UP.format(
        event=f"x'{encoded.hex()}'", topic=topic, event_id=EVENT_ID, user_id=USER_ID, time=TIME_MS
    )


def wait_for_the_end(rest: FlinkRest, job_id: str, slots: int) -> None:
    """Return once the job is over and its slots are free again.

    Raises:
        FlinkError: it failed, or took too long.
    """
    state = "CREATED"
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline and state not in ENDED:
        time.sleep(POLL_S)
        with suppress(*NO_ANSWER):  # the JobManager is making up the job
            state = rest.get(f"/jobs/{job_id}")["state"]
    while time.monotonic() < deadline and state == "FINISHED":
        if rest.get("/overview")["slots-available"] >= slots:
            return
        time.sleep(POLL_S)
    failures = rest.failures(job_id)
    raise FlinkError(
        "the TaskManagers are not warm",
        expected=f"a job {NAME} that ends within {WITHIN_S:.0f} s",
        received=f"{state}: {failures[0] if failures else 'no failure is known'}",
        fix=f"all works, but a spare TaskManager takes over more slowly; see {rest.url}",
    )

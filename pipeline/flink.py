"""What the job needs of Flink itself: Java, jars, configuration, the table environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from deploy.local.class_archive import archive_options
from deploy.local.cluster_config import CONNECTOR, JARS, connector_jar, hadoop_class_path
from deploy.local.java import java_home
from pipeline.config import Settings, with_values
from schemas.errors import FlinkError

if TYPE_CHECKING:
    from pathlib import Path

    from pyflink.table import TableEnvironment

NEEDED_JARS = ("headrace-udfs.jar", CONNECTOR)

# On two cores the serial collector takes 100 to 250 MB less than the parallel one, about as
# fast. Classes fill 170 MB; without that threshold they would mean five full collections at start.
JVM_ARGS = "-Xms256m -XX:+UseSerialGC -XX:MetaspaceSize=192m -XX:-UsePerfData -Xshare:auto"

FIRST_BACKOFF = "100 ms"
"""Each wait before a restart is 1.5 times the last one, up to a minute."""
RESTARTS_IN_A_ROW = "26"
"""After so many failures, about 12 minutes, without a healthy hour in between the job gives up."""
ARROW_BATCH_ROWS = 1000
"""0.2 to 1.9 MB of requests, while Beam sends what it has at 1 MB: Python ranks a bundle's first
profiles while Java folds the next."""
BACKFILL_WAIT_MS = 40
RETAINED_CHECKPOINTS = "3"
"""Should the newest be spoilt on disk, there are older ones."""
FAILED_CHECKPOINTS_IN_A_ROW = "100"
"""A job whose checkpoints fail makes lists all the same; `headrace status` tells their age."""


def jars() -> list[Path]:
    """The jars that the job needs.

    Raises:
        FlinkError: one of them was not built.
    """
    for name in NEEDED_JARS:
        if not (JARS / name).is_file():
            raise FlinkError(
                "a jar of the job is missing",
                expected=f"{name} in {JARS}",
                received="no such file",
                fix="make jar",
            )
    return [JARS / name for name in NEEDED_JARS]


def configuration(settings: Settings) -> dict[str, str]:
    """What the job asks of Flink, wherever it runs, by Flink's names."""
    job = settings.job
    return {
        "pipeline.name": job.name,
        "pipeline.jars": ";".join(jar.resolve().as_uri() for jar in jars()),
        "pipeline.object-reuse": "true",
        "pipeline.max-parallelism": str(job.max_parallelism),
        "parallelism.default": str(job.parallelism),
        "execution.buffer-timeout.interval": f"{job.buffer_timeout_ms} ms",
        "execution.checkpointing.interval": f"{job.checkpoint_interval_ms} ms",
        # State is exact in either mode; job.delivery is about what the sinks show.
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        "execution.checkpointing.dir": state_folder(settings, "checkpoints"),
        "execution.checkpointing.savepoint-dir": state_folder(settings, "savepoints"),
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.num-retained": RETAINED_CHECKPOINTS,
        "execution.checkpointing.tolerable-failed-checkpoints": FAILED_CHECKPOINTS_IN_A_ROW,
        "execution.checkpointing.incremental": "true",
        "state.backend.type": job.state_backend,
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": FIRST_BACKOFF,
        "restart-strategy.exponential-delay.attempts-before-reset-backoff": RESTARTS_IN_A_ROW,
        "python.executable": job.python or sys.executable,
        "python.client.executable": sys.executable,
        "python.fn-execution.bundle.size": str(job.bundle_size),
        "python.fn-execution.bundle.time": str(job.bundle_time_ms),
        "python.fn-execution.arrow.batch.size": str(min(job.bundle_size, ARROW_BATCH_ROWS)),
        "python.metric.enabled": str(job.python_metrics).lower(),
        # Plans name tables and functions and hold no copy of them.
        "table.plan.compile.catalog-objects": "IDENTIFIER",
        "table.plan.restore.catalog-objects": "IDENTIFIER",
    }


def for_backfill(settings: Settings) -> Settings:
    """For a run to the topics' end, where full bundles count for more than the age of a list."""
    return with_values(
        settings,
        {
            "job.bundle_time_ms": max(settings.job.bundle_time_ms, BACKFILL_WAIT_MS),
            "job.buffer_timeout_ms": max(settings.job.buffer_timeout_ms, BACKFILL_WAIT_MS),
        },
    )


def state_folder(settings: Settings, kind: str) -> str:
    """The folder of checkpoints or savepoints, as a URI."""
    root = settings.job.state_dir or settings.run_dir.resolve().as_uri()
    return f"{root.rstrip('/')}/{kind}"


def mini_cluster(web_port: int) -> dict[str, str]:
    """A cluster within the client's JVM, on loopback only.

    Args:
        web_port: of Flink's web page and REST interface, 0 for any.
    """
    return {
        "jobmanager.bind-host": "127.0.0.1",
        "taskmanager.bind-host": "127.0.0.1",
        "rest.address": "127.0.0.1",
        "rest.bind-address": "127.0.0.1",
        "rest.bind-port": str(web_port),
        "web.submit.enable": "false",
    }


def table_environment(settings: Settings, where: Mapping[str, str]) -> TableEnvironment:
    """A streaming table environment in a JVM of its own.

    The JVM is a child of this process and ends with it. Python functions run in a process of their
    own, not in a thread of this one, as they do on a cluster.

    Args:
        settings: of the job.
        where: Flink's settings of the cluster that is to run it, such as `mini_cluster`.

    Raises:
        FlinkError: Java or a jar is missing, or the JVM did not start.
    """
    options = {**configuration(settings), **where}
    log_dir = settings.run_dir / "flink"
    log_dir.mkdir(parents=True, exist_ok=True)
    os.environ |= client_environment(settings, log_dir, os.environ)
    from pyflink.common import Configuration
    from pyflink.table import EnvironmentSettings, TableEnvironment

    config = Configuration()
    for name, value in options.items():
        config.set_string(name, value)
    mode = EnvironmentSettings.new_instance().in_streaming_mode()
    try:
        return TableEnvironment.create(mode.with_configuration(config).build())
    except RuntimeError as error:
        raise FlinkError(
            "Flink's JVM did not start",
            received=str(error)[-500:],
            fix=f"see the logs in {log_dir}",
        ) from error


def client_environment(
    settings: Settings, log_dir: Path, inherited: Mapping[str, str]
) -> dict[str, str]:
    """What PyFlink is told by variables as it starts the client's JVM.

    Raises:
        FlinkError: Java is missing.
    """
    arguments = [f"-Xmx{settings.job.heap_mb}m", JVM_ARGS, *archive_options("client")]
    return {
        "JAVA_HOME": str(java_home()),
        "JVM_ARGS": " ".join(arguments),
        # PyFlink puts its own jar on the class path itself.
        "HADOOP_CLASSPATH": hadoop_class_path([connector_jar()], inherited),
        "FLINK_LOG_DIR": str(log_dir.resolve()),
        "_python_worker_execution_mode": "process",
    }


def literal(value: object) -> str:
    """A value as SQL: strings quoted, booleans and numbers bare."""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"


def create_table(name: str, columns: str, options: Mapping[str, object]) -> str:
    """``CREATE TEMPORARY TABLE`` with its options."""
    listed = ",\n    ".join(
        f"{literal(key)} = {literal(str(value))}" for key, value in options.items()
    )
    return f"CREATE TEMPORARY TABLE {name} ({columns}\n) WITH (\n    {listed}\n)"

"""What the job needs of Flink itself: Java, jars, configuration, the table environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import udfs
from deploy.local.java import java_home
from pipeline.config import Settings
from schemas.errors import FlinkError

if TYPE_CHECKING:
    from pyflink.table import TableEnvironment

JARS = Path(udfs.__file__).parent / "jars"
NEEDED_JARS = ("headrace-udfs.jar", "flink-sql-connector-kafka-5.0.0-2.2.jar")

# On two cores the serial collector takes 100 to 250 MB less than the parallel one, about as
# fast. Classes fill 170 MB; without that threshold they would mean five full collections at start.
JVM_ARGS = "-Xms256m -Xmx1g -XX:+UseSerialGC -XX:MetaspaceSize=192m -XX:-UsePerfData -Xshare:auto"

RESTARTS_IN_A_ROW = "8"
"""After so many failures without a healthy hour in between the job gives up: it cannot work."""


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


def configuration(settings: Settings, web_port: int) -> dict[str, str]:
    """Flink's settings, by Flink's names."""
    job = settings.job
    return {
        "pipeline.name": job.name,
        "pipeline.jars": ";".join(jar.resolve().as_uri() for jar in jars()),
        "pipeline.object-reuse": "true",
        "parallelism.default": str(job.parallelism),
        "execution.buffer-timeout.interval": f"{job.buffer_timeout_ms} ms",
        "execution.checkpointing.interval": f"{job.checkpoint_interval_ms} ms",
        # State is exact in either mode; job.delivery is about what the sinks show.
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        "execution.checkpointing.dir": (settings.run_dir / "checkpoints").resolve().as_uri(),
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.attempts-before-reset-backoff": RESTARTS_IN_A_ROW,
        "python.executable": sys.executable,
        "python.client.executable": sys.executable,
        "python.fn-execution.bundle.size": str(job.bundle_size),
        "python.fn-execution.bundle.time": str(job.bundle_time_ms),
        "python.fn-execution.arrow.batch.size": str(job.bundle_size),
        "python.metric.enabled": str(job.python_metrics).lower(),
        "jobmanager.bind-host": "127.0.0.1",
        "taskmanager.bind-host": "127.0.0.1",
        "rest.address": "127.0.0.1",
        "rest.bind-address": "127.0.0.1",
        "rest.bind-port": str(web_port),
        "web.submit.enable": "false",
    }


def table_environment(settings: Settings, web_port: int = 0) -> TableEnvironment:
    """A streaming table environment in a JVM of its own.

    The JVM is a child of this process and ends with it. Python functions run in a process of their
    own, not in a thread of this one, as they do on a cluster.

    Args:
        settings: of the job.
        web_port: loopback port of Flink's web page and REST interface, 0 for none.

    Raises:
        FlinkError: Java or a jar is missing, or the JVM did not start.
    """
    options = configuration(settings, web_port)
    log_dir = settings.run_dir / "flink"
    log_dir.mkdir(parents=True, exist_ok=True)
    os.environ |= {
        "JAVA_HOME": str(java_home()),
        "JVM_ARGS": JVM_ARGS,
        "FLINK_LOG_DIR": str(log_dir.resolve()),
        "_python_worker_execution_mode": "process",
    }
    from pyflink.common import Configuration
    from pyflink.table import EnvironmentSettings, TableEnvironment

    config = Configuration()
    for name, value in options.items():
        config.set_string(name, value)
    try:
        return TableEnvironment.create(
            EnvironmentSettings.new_instance()
            .in_streaming_mode()
            .with_configuration(config)
            .build()
        )
    except RuntimeError as error:
        raise FlinkError(
            "Flink's JVM did not start",
            received=str(error)[-500:],
            fix=f"see the logs in {log_dir}",
        ) from error


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

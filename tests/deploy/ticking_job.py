"""A job without Kafka for clusters under test: numbers through a Python function into nothing.

python ticking_job.py REST_PORT CHECKPOINTS   prints the job's id once it is submitted
"""

from __future__ import annotations

import os
import sys

from deploy.local.cluster_config import flink_home


def main(rest_port: str, checkpoints: str) -> None:
    from pyflink.common import Configuration
    from pyflink.table import DataTypes, EnvironmentSettings, TableEnvironment
    from pyflink.table.udf import udf

    # Else its Python part would run in a thread of this process, which does not stay.
    os.environ |= {"_python_worker_execution_mode": "process"}
    [python_jar] = (flink_home() / "opt").glob("flink-python-*.jar")
    config = Configuration()
    for name, value in {
        "pipeline.name": "ticking",
        "execution.target": "remote",
        "rest.address": "127.0.0.1",
        "rest.port": rest_port,
        "parallelism.default": "1",
        "execution.checkpointing.interval": "500 ms",
        "execution.checkpointing.dir": checkpoints,
        "restart-strategy.type": "fixed-delay",
        "restart-strategy.fixed-delay.attempts": "1000",
        "restart-strategy.fixed-delay.delay": "200 ms",
        "pipeline.jars": python_jar.as_uri(),
        "python.executable": sys.executable,
        "python.client.executable": sys.executable,
    }.items():
        config.set_string(name, value)
    settings = EnvironmentSettings.new_instance().in_streaming_mode().with_configuration(config)
    tables = TableEnvironment.create(settings.build())
    tables.create_temporary_function("same", udf(lambda n: n, result_type=DataTypes.INT()))
    tables.execute_sql(
        "CREATE TEMPORARY TABLE numbers (n INT) WITH ('connector' = 'datagen', "
        "'rows-per-second' = '100', 'fields.n.min' = '0', 'fields.n.max' = '100')"
    )
    tables.execute_sql(
        "CREATE TEMPORARY TABLE counts (n INT, times BIGINT) WITH ('connector' = 'blackhole')"
    )
    job = tables.execute_sql("INSERT INTO counts SELECT same(n), COUNT(*) FROM numbers GROUP BY n")
    print(job.get_job_client().get_job_id())


if __name__ == "__main__":
    main(*sys.argv[1:])

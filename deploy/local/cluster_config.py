"""What the processes of a local Flink cluster are told, and where their files lie.

<run_dir>/
  checkpoints/  savepoints/   of the jobs
  cluster/
    conf/                     config.yaml, zoo.cfg, log4j-console.properties: written anew
    logs/                     flink-<process>-*.log, and <process>.out: what Java says
    tmp/                      scratch files of the tasks; removed when the cluster stops
    ha/  zookeeper/           jobs that outlive their JobManager, with high availability only
    <process>.pid             see `deploy.local.process`
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from schemas.errors import FlinkError

CONFIG = "config.yaml"
LOGGING = "log4j-console.properties"
JARS = Path(__file__).parents[2] / "udfs" / "jars"
CONNECTOR = "flink-sql-connector-kafka-5.0.0-2.2.jar"
# Which GPU is which TaskManager's. Flink's default, and so of every cluster of this machine: none
# takes another's. Workers look there, see `udfs.assigned_gpu`.
GPU_COORDINATION = Path("/var/tmp/flink-gpu-coordination")  # noqa: S108 - as above

# A JVM without memory hangs rather than fails, its jobs with it: one that is gone is noticed.
# The console shows what Java itself says; the rest is in the log.
JVM_OPTIONS = (
    "-XX:+UseSerialGC -XX:-UsePerfData -Xshare:auto -XX:+ExitOnOutOfMemoryError "
    "-Dconsole.log.level=OFF"
)
# Loaded classes fill the metaspace; without a threshold near what is needed in the end, each step
# there is a full collection.
JOBMANAGER_OPTIONS = "-XX:MetaspaceSize=96m"
# A spare takes over in 9 s rather than in 10 to 14 at 1,000 events/s if Java's second
# compiler, slow and thorough, leaves alone what is only hot meanwhile: its thresholds times ten.
# `headrace run` keeps Java's own: it starts 3 s later, but is at its quickest a minute sooner.
TASKMANAGER_OPTIONS = (
    "-XX:MetaspaceSize=192m "
    "-XX:Tier4InvocationThreshold=50000 -XX:Tier4MinInvocationThreshold=6000 "
    "-XX:Tier4CompileThreshold=150000 -XX:Tier4BackEdgeThreshold=400000"
)


class ClusterOptions(Protocol):
    """Where it listens and how much it takes: the section ``cluster`` of the settings."""

    @property
    def host(self) -> str: ...
    @property
    def rest_port(self) -> int: ...
    @property
    def rpc_port(self) -> int: ...
    @property
    def slots(self) -> int: ...
    @property
    def taskmanager_memory_mb(self) -> int: ...
    @property
    def managed_memory_mb(self) -> int: ...
    @property
    def gpu(self) -> bool: ...
    @property
    def high_availability(self) -> bool: ...
    @property
    def standby_rest_port(self) -> int: ...
    @property
    def zookeeper_port(self) -> int: ...


class ClusterFolder:
    """The files of one cluster."""

    def __init__(self, run_dir: Path) -> None:
        self.root = run_dir.resolve() / "cluster"
        self.conf = self.root / "conf"
        self.logs = self.root / "logs"
        self.tmp = self.root / "tmp"
        self.ha = self.root / "ha"
        self.zookeeper = self.root / "zookeeper"
        self.zoo_cfg = self.conf / "zoo.cfg"
        self.checkpoints = run_dir.resolve() / "checkpoints"
        self.savepoints = run_dir.resolve() / "savepoints"

    def pid(self, name: str) -> Path:
        return self.root / f"{name}.pid"

    def out(self, name: str) -> Path:
        return self.logs / f"{name}.out"

    def config_yaml(self, options: ClusterOptions) -> str:
        lines = configuration(options, self, module_options(flink_home()))
        return "".join(f"{key}: {json.dumps(value)}\n" for key, value in lines.items())

    def agrees(self, options: ClusterOptions) -> bool:
        """Whether what runs was started with these options."""
        file = self.conf / CONFIG
        return file.is_file() and file.read_text(encoding="utf-8") == self.config_yaml(options)

    def write(self, options: ClusterOptions) -> None:
        """Makes the folders and writes the configuration."""
        for folder in (self.conf, self.logs, self.tmp):
            folder.mkdir(parents=True, exist_ok=True)
        (self.conf / CONFIG).write_text(self.config_yaml(options), encoding="utf-8")
        shutil.copyfile(flink_home() / "conf" / LOGGING, self.conf / LOGGING)
        if options.high_availability:
            self.zookeeper.mkdir(exist_ok=True)
            self.zoo_cfg.write_text(zoo_cfg(options, self), encoding="utf-8")


def flink_home() -> Path:
    """Flink's distribution within the pip package, without links: so Flink names its jars.

    Raises:
        FlinkError: the package is not there.
    """
    spec = find_spec("pyflink")
    if spec is None or spec.origin is None:
        raise FlinkError(
            "Flink was not found",
            expected="the package apache-flink",
            received="no module pyflink",
            fix="make setup",
        )
    return Path(spec.origin).parent.resolve()


def python_jar() -> Path:
    """Flink's jar for Python functions, which it keeps apart from its library."""
    [jar] = (flink_home() / "opt").glob("flink-python-*.jar")
    return jar


def connector_jar() -> Path:
    """Flink's jar for Kafka."""
    return JARS / CONNECTOR


def added_jars() -> list[Path]:
    """What stands on Flink's class path beside its library: jars that come with every job.

    Classes that only a job brings stay after it, and after each restart: a TaskManager ran out of
    metaspace at the fourth job.
    """
    return [python_jar(), connector_jar()]


def hadoop_class_path(jars: Iterable[Path], inherited: Mapping[str, str]) -> str:
    """HADOOP_CLASSPATH, Flink's way to add to its class path: with our jars, and what it had.

    Args:
        jars: ours. They come first: an archive of classes fits how a class path begins.
        inherited: the variables of this process; a user may name Hadoop there, for state on HDFS.
    """
    theirs = inherited.get("HADOOP_CLASSPATH", "").split(os.pathsep)
    return os.pathsep.join(dict.fromkeys([*map(str, jars), *filter(None, theirs)]))


def module_options(home: Path) -> str:
    """The ``--add-opens`` and ``--add-exports`` that Flink needs of Java 17, as it ships them."""
    shipped = (home / "conf" / "config.yaml").read_text(encoding="utf-8")
    found = re.search(r"^ *all: (--add-.+)$", shipped, re.MULTILINE)
    if found is None:
        raise FlinkError(
            "Flink's own configuration is not as expected",
            expected="env.java.opts.all with --add-opens",
            received=f"none in {home / 'conf' / 'config.yaml'}",
            fix="make setup, for the version of apache-flink that pyproject.toml names",
        )
    return found.group(1)


def configuration(
    options: ClusterOptions, folder: ClusterFolder, module_options: str
) -> dict[str, str]:
    """``config.yaml`` by Flink's names; what belongs to a job is set by the job."""
    values = {
        **_addresses(options),
        "taskmanager.numberOfTaskSlots": str(options.slots),
        "web.submit.enable": "false",
        "web.cancel.enable": "false",
        # What stands on the class path serves every job, see `added_jars`.
        "classloader.resolve-order": "parent-first",
        **_failures(),
        **_memory(options),
        "env.java.opts.all": f"{module_options} {JVM_OPTIONS}",
        "env.java.opts.jobmanager": JOBMANAGER_OPTIONS,
        "env.java.opts.taskmanager": TASKMANAGER_OPTIONS,
        # Flink asks the cluster for it, not the job. Should the newest be spoilt, there are others.
        "execution.checkpointing.num-retained": "3",
        "execution.checkpointing.dir": folder.checkpoints.as_uri(),
        "execution.checkpointing.savepoint-dir": folder.savepoints.as_uri(),
        "io.tmp.dirs": str(folder.tmp),
    }
    if options.gpu:
        values |= _gpu(flink_home())
    return values | (_high_availability(options, folder) if options.high_availability else {})


def _addresses(options: ClusterOptions) -> dict[str, str]:
    """Everything on one address; ports that are not named are any free one of it."""
    return {
        "rest.address": options.host,
        "rest.bind-address": options.host,
        "rest.port": str(options.rest_port),
        "rest.bind-port": str(options.rest_port),
        "jobmanager.rpc.address": options.host,
        "jobmanager.rpc.port": str(options.rpc_port),
        "jobmanager.bind-host": options.host,
        "taskmanager.host": options.host,
        "taskmanager.bind-host": options.host,
    }


def _failures() -> dict[str, str]:
    """A process that is gone is noticed within two heartbeats, one that hangs within 5 s."""
    return {
        "heartbeat.interval": "500 ms",
        "heartbeat.timeout": "5 s",
        "heartbeat.rpc-failure-threshold": "2",
        # Otherwise 10 s and 30 s pass before a TaskManager asks for its JobManager again.
        "cluster.registration.error-delay": "500 ms",
        "cluster.registration.refused-registration-delay": "500 ms",
    }


def _memory(options: ClusterOptions) -> dict[str, str]:
    """Small: the JobManager's heap holds graphs only, network buffers are few on one machine."""
    return {
        "jobmanager.memory.heap.size": "192m",
        "taskmanager.memory.process.size": f"{options.taskmanager_memory_mb}m",
        # Some of a job's classes stay after it, or after a restart; 256 MB were soon full.
        # Memory is taken only as it fills.
        "taskmanager.memory.jvm-metaspace.size": "512m",
        "taskmanager.memory.managed.size": f"{options.managed_memory_mb}m",
        "taskmanager.memory.network.min": "32m",
        "taskmanager.memory.network.max": "32m",
    }


def _gpu(home: Path) -> dict[str, str]:
    """A GPU for each TaskManager, and no two of this machine the same.

    Flink looks for a script without an absolute path below FLINK_HOME, which its scripts do not
    hand on to Java.
    """
    plugin = "org.apache.flink.externalresource.gpu.GPUDriverFactory"
    script = home / "plugins" / "external-resource-gpu" / "nvidia-gpu-discovery.sh"
    arguments = f"--enable-coordination-mode --coordination-file {GPU_COORDINATION}"
    return {
        "external-resources": "gpu",
        "external-resource.gpu.amount": "1",
        "external-resource.gpu.driver-factory.class": plugin,
        "external-resource.gpu.param.discovery-script.path": str(script),
        "external-resource.gpu.param.discovery-script.args": arguments,
    }


def _high_availability(options: ClusterOptions, folder: ClusterFolder) -> dict[str, str]:
    return {
        "high-availability.type": "zookeeper",
        "high-availability.zookeeper.quorum": f"{options.host}:{options.zookeeper_port}",
        "high-availability.storageDir": folder.ha.as_uri(),
        # A leader that says nothing for so long has lost its place; Flink's default is 60 s.
        "high-availability.zookeeper.client.session-timeout": "5 s",
        "high-availability.zookeeper.client.connection-timeout": "5 s",
    }


def zoo_cfg(options: ClusterOptions, folder: ClusterFolder) -> str:
    """One ZooKeeper on loopback; sessions may be as short as two ticks."""
    return (
        "tickTime=1000\n"
        f"clientPortAddress={options.host}\n"
        f"clientPort={options.zookeeper_port}\n"
        f"dataDir={folder.zookeeper}\n"
        "admin.enableServer=false\n"
    )

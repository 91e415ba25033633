"""One process of a local Flink cluster: started with Flink's own scripts, stopped by its id."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.local.class_archive import archive_options
from deploy.local.cluster_config import (
    ClusterFolder,
    ClusterOptions,
    added_jars,
    flink_home,
    hadoop_class_path,
)
from deploy.local.process import ProcessRecord, signals_put_off

# Variables of Flink's scripts that a caller may have set for a Flink of their own.
NOT_INHERITED = (
    *("JVM_ARGS", "FLINK_ENV_JAVA_OPTS", "FLINK_ENV_JAVA_OPTS_JM", "FLINK_ENV_JAVA_OPTS_TM"),
    *("FLINK_LIB_DIR", "FLINK_OPT_DIR", "FLINK_PLUGINS_DIR", "_FLINK_HOME_DETERMINED"),
)
SCRIPTS = {"jobmanager": "jobmanager.sh", "taskmanager": "taskmanager.sh"}


@dataclass(frozen=True)
class ClusterProcess(ProcessRecord):
    """A process of the cluster.

    Attributes:
        resource_id: the name under which a TaskManager registers; new at each start, so that one
            that is gone is not taken for the one that replaces it.
    """

    resource_id: str = ""


def launch(
    name: str, options: ClusterOptions, folder: ClusterFolder, java_home: Path
) -> ClusterProcess:
    """Starts ``jobmanager-1``, ``taskmanager-3`` or ``zookeeper``, and writes its pid file.

    The scripts end in ``exec java``: the process id is Java's.
    """
    resource_id = f"{name}-{uuid.uuid4().hex[:8]}"
    variables = {
        "JAVA_HOME": str(java_home),
        "FLINK_CONF_DIR": str(folder.conf),
        "FLINK_PID_DIR": str(folder.tmp / name),  # The scripts count processes there.
        # Fewer arenas of the C library: tens of MB less in a JVM of sixty threads.
        "MALLOC_ARENA_MAX": "2",
        "HADOOP_CLASSPATH": hadoop_class_path(added_jars(), os.environ),
        "JVM_ARGS": " ".join(archive_options("cluster")),
        **_marks(name, folder),
    }
    unset = [word for variable in NOT_INHERITED for word in ("-u", variable)]
    assignments = [f"{variable}={value}" for variable, value in variables.items()]
    command = ["/usr/bin/env", *unset, *assignments]
    command += _command(name, resource_id, options, folder)
    with signals_put_off():
        java = ProcessRecord.launch(command, folder.out(name), folder.root)
        process = ClusterProcess(java.pid, java.born, resource_id)
        process.write(folder.pid(name))
    return process


def _command(
    name: str, resource_id: str, options: ClusterOptions, folder: ClusterFolder
) -> list[str]:
    kind, _, number = name.partition("-")
    scripts = flink_home() / "bin"
    if kind == "zookeeper":
        console = ["bash", str(scripts / "flink-console.sh"), "zookeeper"]
        return [*console, "--zkConfigFile", str(folder.zoo_cfg), "--peerId", "1"]
    command = ["bash", str(scripts / SCRIPTS[kind]), "start-foreground"]
    if kind == "taskmanager":
        return [*command, "-D", f"taskmanager.resource-id={resource_id}"]
    port = rest_ports(options)[int(number) - 1]
    return [*command, "-D", f"rest.port={port}", "-D", f"rest.bind-port={port}"]


def rest_ports(options: ClusterOptions) -> list[int]:
    """The REST port of each JobManager."""
    return [options.rest_port, *([options.standby_rest_port] if options.high_availability else [])]


def stop(name: str, folder: ClusterFolder) -> bool:
    """Stops a process with all that it started, and removes its pid file; whether it lived."""
    process = ClusterProcess.read(folder.pid(name))
    lived = process is not None and process.alive
    if process is not None:
        process.stop()
    for orphan in orphans(name, folder):
        orphan.stop(patience_s=0)
    folder.pid(name).unlink(missing_ok=True)
    shutil.rmtree(folder.tmp / name, ignore_errors=True)
    return lived


def orphans(name: str, folder: ClusterFolder) -> Iterator[ProcessRecord]:
    """Python workers of a process that is gone: they carry its marks (on Linux, where /proc is)."""
    wanted = {f"{key}={value}".encode() for key, value in _marks(name, folder).items()}
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted <= set(file.read_bytes().split(b"\0")):
                yield ProcessRecord.of(int(file.parent.name))
        except OSError:  # Gone, or another user's.
            continue


def _marks(name: str, folder: ClusterFolder) -> dict[str, str]:
    """Variables by which its children are known; they name the log file too."""
    return {
        "FLINK_LOG_DIR": str(folder.logs),
        "FLINK_IDENT_STRING": name,
        "HOSTNAME": "localhost",
    }


def last_words(name: str, folder: ClusterFolder) -> str:
    """The last error in the logs of a process; empty if there is none."""
    for file in (folder.out(name), *folder.logs.glob(f"flink-{name}-*.log")):
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [line for line in lines if "ERROR" in line or "Exception" in line]
        if errors:
            return errors[-1]
    return ""

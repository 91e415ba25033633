"""Flink's configuration in the containers: that of the local cluster, with their addresses.

python -m deploy.docker.flink_conf CONF JARS      when the image is built, see the Dockerfile
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from deploy.local import cluster_config
from deploy.local.cluster_config import (
    CONFIG,
    LOGGING,
    ClusterFolder,
    added_jars,
    flink_home,
    module_options,
)

RUN_DIR = Path("/srv/headrace/run")
"""``run_dir`` of the client; all containers of the job have it at this path."""
SILENT = " -Dconsole.log.level=OFF"


@dataclass(frozen=True)
class Containers:
    """The cluster of compose.yaml, with the defaults of the section ``cluster``."""

    host: str = "jobmanager"
    rest_port: int = 19081
    rpc_port: int = 19123
    slots: int = 1
    taskmanager_memory_mb: int = 1_280
    managed_memory_mb: int = 64
    gpu: bool = False
    high_availability: bool = False
    standby_rest_port: int = 19082
    zookeeper_port: int = 19181


def configuration() -> dict[str, str]:
    """``config.yaml`` by Flink's names.

    Raises:
        FlinkError: Flink is not installed, or not as expected.
    """
    opens = module_options(flink_home())
    values = cluster_config.configuration(Containers(), ClusterFolder(RUN_DIR), opens)
    # Each container has an address of its own, by which a TaskManager registers.
    del values["taskmanager.host"]
    for bound in ("rest.bind-address", "jobmanager.bind-host", "taskmanager.bind-host"):
        values[bound] = "0.0.0.0"  # noqa: S104 - of a container; compose.yaml publishes on loopback
    values["io.tmp.dirs"] = "/tmp"  # noqa: S108 - a volume of this container alone
    values["env.java.opts.all"] = values["env.java.opts.all"].replace(SILENT, "")
    return values


def logging(shipped: str) -> str:
    """Flink's own logging without its files: a container's log is its console."""
    lines = shipped.splitlines(keepends=True)
    return "".join(line for line in lines if "rolling" not in line.lower())


def write(folder: Path) -> None:
    """Writes both files."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{key}: {json.dumps(value)}\n" for key, value in configuration().items()]
    (folder / CONFIG).write_text("".join(lines), encoding="utf-8")
    shipped = (flink_home() / "conf" / LOGGING).read_text(encoding="utf-8")
    (folder / LOGGING).write_text(logging(shipped), encoding="utf-8")


def link_jars(folder: Path) -> None:
    """Links what compose.yaml adds to Flink's class path, by the names it has here."""
    folder.mkdir(parents=True, exist_ok=True)
    for jar in added_jars():
        (folder / jar.name).symlink_to(jar)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
    link_jars(Path(sys.argv[2]))

"""Whether each TaskManager got a GPU.

    TaskManager ─▶ nvidia-gpu-discovery.sh ─▶ nvidia-smi: 0, 1
                     └── GPU_COORDINATION: a line "0 4711", GPU 0 is process 4711's

If its script finds none, Flink warns in its log and goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from deploy.local import cluster_config
from deploy.local.cluster_config import ClusterFolder
from deploy.local.cluster_process import ClusterProcess, last_words
from schemas.errors import FlinkError


def refuse_without_gpu(processes: Mapping[str, ClusterProcess], folder: ClusterFolder) -> None:
    """To be asked once they are registered: by then the script has run.

    Args:
        processes: of the cluster, by their names.
        folder: their files.

    Raises:
        FlinkError: a TaskManager among them has no GPU.
    """
    owners = _owners()
    without = [
        name
        for name, process in processes.items()
        if name.startswith("taskmanager-") and str(process.pid) not in owners
    ]
    if without:
        raise FlinkError(
            f"There is no GPU for {', '.join(without)}",
            expected="one for each TaskManager, with cluster.gpu = true",
            received="; ".join(_said_by_the_script(without[0], folder))
            or last_words(without[0], folder)
            or f"no line about it in {cluster_config.GPU_COORDINATION}",
            fix="compare the number of TaskManagers with the GPUs that `nvidia-smi -L` shows; "
            f"who has one is in {cluster_config.GPU_COORDINATION}; or cluster.gpu = false",
        )


def _owners() -> set[str]:
    """Process ids of the TaskManagers that have a GPU."""
    file = cluster_config.GPU_COORDINATION
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return {line.partition(" ")[2] for line in lines}


def _said_by_the_script(name: str, folder: ClusterFolder) -> Iterator[str]:
    """What it wrote before it failed; Flink's log quotes it."""
    for file in folder.logs.glob(f"flink-{name}-*.log"):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            stream, _, said = line.partition(": ")
            if said and stream in ("STDOUT", "STDERR"):
                yield said

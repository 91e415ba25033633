"""The local Flink cluster: `headrace cluster up`, `status`, `logs`, `down`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from deploy.local import cluster

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Settings


def up(settings: Settings, taskmanagers: int | None, console: Console) -> dict[str, Any]:
    """Starts what is missing of the cluster.

    Args:
        settings: ``cluster`` and ``run_dir``.
        taskmanagers: how many are wanted; None: as many as there were, at least one.
        console: for progress.

    Raises:
        FlinkError: it does not start.
    """
    with console.status("starting Flink"):
        return asdict(cluster.start(settings.cluster, settings.run_dir, taskmanagers))


def status(settings: Settings) -> dict[str, Any]:
    """What of the cluster runs."""
    return asdict(cluster.status(settings.cluster, settings.run_dir))


def logs(settings: Settings, lines: int) -> dict[str, Any]:
    """``{"logs": [{"file", "tail"}]}``: the last lines of each log file."""
    return {"logs": cluster.logs(settings.run_dir, lines)}


def down(settings: Settings) -> dict[str, Any]:
    """Stops the cluster; checkpoints, savepoints and logs stay in ``run_dir``."""
    return asdict(cluster.stop(settings.cluster, settings.run_dir))

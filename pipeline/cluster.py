"""The local Flink cluster: `headrace cluster up`, `status`, `logs`, `down`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from deploy.local import cluster
from deploy.local.cluster_rest import NO_ANSWER
from pipeline.rest import FlinkRest
from schemas.errors import HeadraceError

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Settings


def up(settings: Settings, taskmanagers: int | None, console: Console) -> dict[str, Any]:
    """Starts what is missing of the cluster, and warms it up.

    Args:
        settings: ``cluster`` and ``run_dir``.
        taskmanagers: how many are wanted; None: as many as there were, at least one.
        console: for progress.

    Returns:
        `ClusterStatus`, and ``warm_up_s``: seconds that its new TaskManagers were warmed up for;
        None if there are none, or none with a free slot, or it failed.

    Raises:
        FlinkError: it does not start.
    """
    with console.status("starting Flink"):
        told = cluster.start(settings.cluster, settings.run_dir, taskmanagers)
    new = [name for name in told.started if name.startswith("taskmanager-")]
    took_s = warmed_up(settings, told.free_slots, console) if new and told.free_slots else None
    return asdict(told) | {"warm_up_s": took_s}


def warmed_up(settings: Settings, slots: int, console: Console) -> float | None:
    """Seconds that it took; None if it failed, and then the cluster works all the same."""
    from pipeline.warm_up import warm_up

    try:
        with console.status("warming up"):
            return round(warm_up(settings, FlinkRest(*cluster.urls(settings.cluster)), slots), 1)
    except (HeadraceError, *NO_ANSWER) as error:
        console.print(f"warning: {error}", style="yellow")
        return None


def status(settings: Settings) -> dict[str, Any]:
    """What of the cluster runs."""
    return asdict(cluster.status(settings.cluster, settings.run_dir))


def logs(settings: Settings, lines: int) -> dict[str, Any]:
    """``{"logs": [{"file", "tail"}]}``: the last lines of each log file."""
    return {"logs": cluster.logs(settings.run_dir, lines)}


def down(settings: Settings) -> dict[str, Any]:
    """Stops the cluster; checkpoints, savepoints and logs stay in ``run_dir``."""
    return asdict(cluster.stop(settings.cluster, settings.run_dir))

"""`headrace cluster`: one command per line of work, no logic."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from pipeline.command import Call, Result, register

cluster = typer.Typer(help="A Flink cluster on this machine.", no_args_is_help=True)
command = partial(register, cluster)

TaskManagers = Annotated[
    int | None,
    typer.Option(min=1, help="How many. [default: as many as there were, at least 1]"),
]


@command
def up(call: Call, taskmanagers: TaskManagers = None) -> Result:
    """Start a JobManager and TaskManagers; on a running cluster, what is missing of them.

    Example: headrace cluster up --taskmanagers 2
    """
    from pipeline import cluster

    return cluster.up(call.settings, taskmanagers, call.console)


@command
def status(call: Call) -> Result:
    """Tell what of the cluster runs, its slots and its jobs.

    Example: headrace cluster status --json
    """
    from pipeline import cluster

    return cluster.status(call.settings)


@command
def logs(
    call: Call,
    lines: Annotated[int, typer.Option(min=1, help="Last lines of each file.")] = 20,
) -> Result:
    """Show where the cluster's logs are, and their last lines.

    Example: headrace cluster logs --lines 50
    """
    from pipeline import cluster

    return cluster.logs(call.settings, lines)


@command
def down(call: Call) -> Result:
    """Stop the cluster; checkpoints, savepoints and logs stay.

    Example: headrace cluster down
    """
    from pipeline import cluster

    return cluster.down(call.settings)

"""The Flink job: one command per line of work, no logic."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from pipeline.command import Call, Result, register

job = typer.Typer()
command = partial(register, job)

JobManager = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="REST address of Flink; several separated by commas. "
        "[default: the job of `headrace run`, else the local cluster]",
    ),
]
Seconds = Annotated[float | None, typer.Option(min=0.0, help="Stop after so many seconds.")]


@command
def plan(call: Call) -> Result:
    """Print the Flink job's plan without running it.

    Example: headrace plan
    """
    from pipeline.run import explain

    return explain(call.settings)


@command
def run(
    call: Call,
    seconds: Seconds = None,
    bounded: Annotated[bool, typer.Option(help="End at the topics' present end.")] = False,
) -> Result:
    """Run the Flink job on this machine until Ctrl-C.

    Example: headrace run --set job.emit=every
    """
    from pipeline.run import run

    return run(call.settings, call.console, seconds=seconds, bounded=bounded)


@command
def submit(
    call: Call,
    jobmanager: JobManager = None,
    from_savepoint: Annotated[
        str | None, typer.Option(metavar="PATH", help="Go on from this savepoint.")
    ] = None,
    from_checkpoint: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Go on from this checkpoint; latest: the newest one."),
    ] = None,
) -> Result:
    """Submit the Flink job to a cluster and wait until it runs.

    Example: headrace submit --jobmanager 127.0.0.1:8081 --from-checkpoint latest
    """
    from pipeline import operate
    from pipeline.submit import submit

    if from_savepoint and from_checkpoint:
        raise typer.BadParameter("--from-savepoint or --from-checkpoint, not both")
    rest = operate.jobmanager(call.settings, jobmanager)
    state = from_savepoint or from_checkpoint
    return submit(call.settings, rest, call.console, state=state)


@command
def status(call: Call, jobmanager: JobManager = None) -> Result:
    """Tell how the job is: state, lag, checkpoint, restarts, engine; and the local broker.

    Exit status 8 if the job does not run.

    Example: headrace status --json
    """
    from pipeline import operate
    from schemas.errors import FlinkError

    found = operate.status(call.settings, operate.jobmanager(call.settings, jobmanager))
    running = found["job"] is not None and found["job"]["state"] == "RUNNING"
    call.exit_code = 0 if running else FlinkError.exit_code
    return found


@command
def stop(
    call: Call,
    jobmanager: JobManager = None,
    savepoint: Annotated[
        bool, typer.Option("--savepoint", help="Write a savepoint first.")
    ] = False,
) -> Result:
    """Stop the Flink job; its checkpoints stay.

    Exit status 8 if its end is not known, with the state UNKNOWN if the JobManager was lost.

    Example: headrace stop --savepoint
    """
    from pipeline import operate
    from pipeline.rest import ENDED
    from schemas.errors import FlinkError

    rest = operate.jobmanager(call.settings, jobmanager)
    told = operate.stop(call.settings, rest, call.console, savepoint=savepoint)
    call.exit_code = 0 if told["state"] in ENDED else FlinkError.exit_code
    return told


@command
def quarantine(
    call: Call,
    release: Annotated[
        str | None,
        typer.Option(metavar="STAGE:PARTITION:OFFSET", help="Let this record go."),
    ] = None,
) -> Result:
    """List the records that are dead letters because the job failed at them again and again.

    Example: headrace quarantine --release events:0:17
    """
    from pipeline import quarantine

    if release:
        return quarantine.release(call.settings, release)
    return quarantine.quarantine(call.settings)

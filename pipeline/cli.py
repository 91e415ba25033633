"""The command line: one command per line of work, no logic.

Modules are imported inside the commands, so that ``--help`` is quick.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pipeline.bench_cli import bench
from pipeline.cluster_cli import cluster
from pipeline.command import Call, Result, register
from pipeline.schemas_cli import schemas

app = typer.Typer(
    help="Streaming features and inference for recommendations: events in, fresh lists out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
main = app
command = partial(register, app)
app.add_typer(bench, name="bench")
app.add_typer(cluster, name="cluster")
app.add_typer(schemas, name="schemas")

Kind = Annotated[
    str,
    typer.Option(
        "--source",
        help="Kind of event log: otto, retail, sequences, avro, parquet, jsonl, synthetic.",
    ),
]
Log = Annotated[
    Path | None, typer.Argument(help="The log: a file, or a folder of files. None for synthetic.")
]
User = Annotated[str, typer.Option(help="The user's id.")]
Since = Annotated[str | None, typer.Option("--from", help="Oldest event time, such as 2010-11-01.")]
Until = Annotated[str | None, typer.Option(help="First event time no longer wanted.")]
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
def validate(call: Call) -> Result:
    """Check the settings and list every problem.

    Example: headrace validate --config headrace.toml
    """
    from dataclasses import asdict

    from schemas.errors import SettingsError

    problems = [asdict(problem) for problem in call.problems()]
    call.exit_code = SettingsError.exit_code if problems else 0
    return {"valid": not problems, "problems": problems}


@command
def settings(call: Call) -> Result:
    """Print the settings in force, secrets masked.

    Example: headrace settings --set kafka.partitions=8
    """
    return call.settings.as_dict()


@command
def up(call: Call) -> Result:
    """Start the local broker and create the topics.

    Example: headrace up
    """
    from pipeline import local

    return local.up(call.settings)


@command
def down(call: Call) -> Result:
    """Stop the local broker; its data stay.

    Example: headrace down
    """
    from pipeline import local

    return local.down(call.settings)


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
def topics(call: Call) -> Result:
    """Create the topics that are missing and check the others, on any cluster.

    Example: headrace topics --set kafka.bootstrap_servers=kafka:9092
    """
    from pipeline import kafka

    return kafka.ensure_topics(call.settings)


@command
def produce(
    call: Call,
    kind: Kind,
    path: Log = None,
    since: Since = None,
    until: Until = None,
    rate: Annotated[float | None, typer.Option(min=1e-3, help="Events per second.")] = None,
    speedup: Annotated[
        float | None, typer.Option(min=1e-3, help="So many times faster than event time.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on where an earlier run was stopped.")] = True,
) -> Result:
    """Send an event log to the events topic.

    Example: headrace produce --source retail online_retail.parquet --from 2010-11-01 --rate 1000
    """
    from pipeline import produce, sources

    source = sources.open_source(kind, path, since_ms=_ms(since), until_ms=_ms(until))
    return produce.produce(
        call.settings, source, rate=rate, speedup=speedup, resume=resume, console=call.console
    )


@command
def export(
    call: Call,
    kind: Kind,
    to: Annotated[Path, typer.Option(help="File to write: .avro, .parquet or .jsonl.")],
    path: Log = None,
    since: Since = None,
    until: Until = None,
) -> Result:
    """Write an event log as a file of our own schema.

    Example: headrace export --source otto otto_sample.jsonl --to otto.avro
    """
    from pipeline import sources
    from pipeline.export import export

    source = sources.open_source(kind, path, since_ms=_ms(since), until_ms=_ms(until))
    return export(source, to, call.console)


@command
def consume(
    call: Call,
    user: Annotated[str | None, typer.Option(help="Only this user.")] = None,
    follow: Annotated[bool, typer.Option(help="Go on with new lists until Ctrl-C.")] = False,
    from_beginning: Annotated[
        bool, typer.Option(help="With --follow: first what is there.")
    ] = True,
    limit: Annotated[
        int | None,
        typer.Option(min=0, help="At most so many; 0: all. [default: 10; with --follow all]"),
    ] = None,
) -> Result:
    """Show lists of the recommendations topic.

    Example: headrace consume --user user-00042
    """
    from pipeline import consume, lists

    call.shown.add("lists")
    return consume.consume(
        call.settings,
        lists.printer(call.settings, quiet=call.as_json),
        user=user,
        follow=follow,
        from_beginning=from_beginning,
        limit=limit,
    )


@command
def forget(
    call: Call,
    user: User,
    as_of: Annotated[
        str | None,
        typer.Option(help="Events up to this time never enter again. [default: now]"),
    ] = None,
) -> Result:
    """Order a user's whole profile to be erased, and the list with it.

    Example: headrace forget --user user-00042
    """
    from pipeline import produce

    return produce.send_control(call.settings, user, "forget", _ms(as_of))


@command
def rerank(call: Call, user: User) -> Result:
    """Order a list for a user without waiting for an event.

    Example: headrace rerank --user user-00042
    """
    from pipeline import produce

    return produce.send_control(call.settings, user, "rerank")


@command
def train(
    call: Call,
    model: Annotated[str, typer.Argument(help="What to fit: cooccurrence.")],
    kind: Kind,
    path: Log = None,
    until: Until = None,
    name: Annotated[str, typer.Option(help="Name of the engine. [default: the model's]")] = "",
) -> Result:
    """Fit an engine on an event log and add it to the store.

    Example: headrace train cooccurrence --source retail online_retail.parquet --until 2010-11-01
    """
    from pipeline.train import train

    return train(call.settings, model, kind, path, _ms(until), name, call.console)


@command
def activate(
    call: Call,
    name: Annotated[
        str | None, typer.Argument(help="Name of the engine. [default: the one added last]")
    ] = None,
    version: Annotated[str | None, typer.Argument(help="[default: the newest]")] = None,
) -> Result:
    """Make an engine of the store the active one.

    Example: headrace activate shop 3
    """
    from engines.registry import Registry

    return Registry(call.settings.engine.store).activate(name, version).model_dump()


@command
def engines(call: Call) -> Result:
    """List the engines of the store.

    Example: headrace engines
    """
    from dataclasses import asdict

    from engines.registry import Registry

    return {"engines": [asdict(entry) for entry in Registry(call.settings.engine.store).list()]}


@command
def evaluate(
    call: Call,
    kind: Kind,
    path: Log = None,
    model: Annotated[str, typer.Option(help="What to fit.")] = "cooccurrence",
) -> Result:
    """Measure a model's next-item accuracy: leave-one-out, all items ranked.

    Example: headrace evaluate --source sequences beauty.txt --model cooccurrence
    """
    from pipeline.evaluate import evaluate

    return evaluate(model, kind, path, call.console)


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


@command
def demo(
    call: Call,
    seconds: Annotated[float, typer.Option(min=1.0, help="Length of the play.")] = 60.0,
    rate: Annotated[float, typer.Option(min=1.0, help="Events per second.")] = 200.0,
) -> Result:
    """Play a made-up shop through the whole pipeline, from nothing to fresh lists.

    Example: headrace demo --seconds 30
    """
    from pipeline.demo.run import demo

    return demo(call.settings, seconds, rate, call.console)


def _ms(time: str | None) -> int | None:
    from pipeline.sources import parse_time

    return None if time is None else parse_time(time)

"""The command line: one command per line of work, no logic.

Modules are imported inside the commands, so that ``--help`` is quick.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from pipeline.bench_cli import bench
from pipeline.cluster_cli import cluster
from pipeline.command import Call, Result, register
from pipeline.engines_cli import engines
from pipeline.events_cli import events
from pipeline.job_cli import job
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
for line_of_work in (events, engines, job):
    app.add_typer(line_of_work)
app.add_typer(bench, name="bench")
app.add_typer(cluster, name="cluster")
app.add_typer(schemas, name="schemas")


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
def topics(call: Call) -> Result:
    """Create the topics that are missing and check the others, on any cluster.

    Example: headrace topics --set kafka.bootstrap_servers=kafka:9092
    """
    from pipeline.topics import ensure_topics

    return ensure_topics(call.settings)


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

"""Events and orders in, lists out: one command per line of work, no logic."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pipeline.command import Call, Result, register
from pipeline.log_options import Kind, Log, Since, Until, to_ms

events = typer.Typer()
command = partial(register, events)

User = Annotated[str, typer.Option(help="The user's id.")]


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

    source = sources.open_source(kind, path, since_ms=to_ms(since), until_ms=to_ms(until))
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

    source = sources.open_source(kind, path, since_ms=to_ms(since), until_ms=to_ms(until))
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

    return produce.send_control(call.settings, user, "forget", to_ms(as_of))


@command
def rerank(
    call: Call,
    user: Annotated[
        str | None, typer.Option(help="For whom. [default: all with a list of an earlier engine]")
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, help="Orders a second, for all of them.")] = 100.0,
) -> Result:
    """Order lists from the active engine without waiting for events.

    After an activation it brings everybody a list of the new engine: those who do something get
    one by themselves.

    Example: headrace rerank --rate 200
    """
    if user is None:
        from pipeline.rerank import rerank_idle

        return rerank_idle(call.settings, rate, call.console)
    from pipeline import produce

    return produce.send_control(call.settings, user, "rerank")

"""Engines: one command per line of work, no logic."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from pipeline.command import Call, Result, register
from pipeline.log_options import Kind, Log, Until, ValidateUntil, to_ms

engines = typer.Typer()
command = partial(register, engines)


@command
def train(
    call: Call,
    model: Annotated[str, typer.Argument(help="What to fit: cooccurrence, sasrec.")],
    kind: Kind,
    path: Log = None,
    until: Until = None,
    validate_until: ValidateUntil = None,
    name: Annotated[str, typer.Option(help="Name of the engine. [default: the model's]")] = "",
) -> Result:
    """Fit an engine on an event log and add it to the store.

    A fit that was interrupted goes on where it was when the same command is given again.

    Example: headrace train cooccurrence --source retail online_retail.parquet --until 2010-11-01
    """
    from pipeline.train import train

    times = to_ms(until), to_ms(validate_until)
    return train(call.settings, model, kind, path, *times, name, call.console)


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
def engines_(call: Call) -> Result:
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
    model: Annotated[
        str, typer.Option(help="What to fit: cooccurrence, sasrec, popularity.")
    ] = "cooccurrence",
    until: Until = None,
    validate_until: ValidateUntil = None,
) -> Result:
    """Measure a model's next-item accuracy, all items ranked.

    Each user's last event is to be found by an engine fitted on all but the last two; or, with
    --validate-until, his first new item between the two times by one fitted on what was before.

    Example: headrace evaluate --source sequences beauty.txt --model sasrec
    """
    from pipeline.evaluate import evaluate

    times = to_ms(until), to_ms(validate_until)
    return evaluate(call.settings, model, kind, path, *times, call.console)

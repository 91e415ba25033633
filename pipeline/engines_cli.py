"""Engines: one command per line of work, no logic."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from pipeline.command import Call, Result, register
from pipeline.log_options import Kind, Log, Until, to_ms

engines = typer.Typer()
command = partial(register, engines)


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

    return train(call.settings, model, kind, path, to_ms(until), name, call.console)


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
    model: Annotated[str, typer.Option(help="What to fit.")] = "cooccurrence",
) -> Result:
    """Measure a model's next-item accuracy: leave-one-out, all items ranked.

    Example: headrace evaluate --source sequences beauty.txt --model cooccurrence
    """
    from pipeline.evaluate import evaluate

    return evaluate(model, kind, path, call.console)

"""`headrace schemas`: one command per line of work, no logic."""

from __future__ import annotations

from functools import partial

import typer

from pipeline.command import Call, Result, register

schemas = typer.Typer(
    help="The schemas of the topics, and a schema registry.", no_args_is_help=True
)
command = partial(register, schemas)


@command
def check(call: Call) -> Result:
    """Check that all versions, kept and registered, read each other.

    Example: headrace schemas check --set registry.url=http://127.0.0.1:8081
    """
    from pipeline.schemas import check
    from schemas.errors import SchemaError

    told = check(call.settings)
    call.exit_code = 0 if told["compatible"] else SchemaError.exit_code
    return told


@command
def register_(call: Call) -> Result:
    """Register our schemas, and have the registry keep their subjects compatible.

    Example: headrace schemas register --set registry.url=http://127.0.0.1:8081
    """
    from pipeline.schemas import register

    return register(call.settings)

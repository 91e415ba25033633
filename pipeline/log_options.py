"""Options of the commands that read an event log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
Since = Annotated[str | None, typer.Option("--from", help="Oldest event time, such as 2010-11-01.")]
Until = Annotated[str | None, typer.Option(help="First event time no longer wanted.")]
ValidateUntil = Annotated[
    str | None, typer.Option(help="What happens between --until and this time judges the model.")
]

Items = Annotated[
    Path | None,
    typer.Option(
        help="What is known of the items: a .parquet, .csv or .jsonl file with item_id, title, "
        "category, price, provider and vector, as far as known, or a .json object."
    ),
]


def to_ms(time: str | None) -> int | None:
    """A time as a user writes it, in ms since 1970."""
    from pipeline.sources import parse_time

    return None if time is None else parse_time(time)

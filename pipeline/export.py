"""One kind of event log to another: a file that `pipeline.sources.records` reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.console import bar, shown
from pipeline.sources import WRITERS, Source
from schemas.errors import SourceError

if TYPE_CHECKING:
    from rich.console import Console


def export(source: Source, path: Path, console: Console | None = None) -> dict[str, Any]:
    """Writes every event of a log to a new file, in event-time order.

    Args:
        source: the log.
        path: the file; its suffix is the format: .avro, .jsonl or .parquet.
        console: shows progress; None shows none.

    Returns:
        ``file``; ``events`` written; ``left_out``, rows of the log by reason.

    Raises:
        SourceError: the suffix is another, the file exists or cannot be written, or the log is
            malformed. A file is there afterwards only if it is whole.
    """
    write = WRITERS.get(path.suffix.removeprefix("."))
    if write is None:
        raise SourceError(
            f"cannot tell the format of {path}",
            expected="a file name that ends in " + ", ".join(f".{kind}" for kind in WRITERS),
            received=path.suffix or "no suffix",
            fix="choose another name",
        )
    if path.exists():
        raise SourceError(
            f"{path} is there already",
            expected="the name of a new file",
            received=str(path),
            fix="choose another name, or remove the file first",
        )
    with bar(console, "exporting", source.total) as advance:
        events = write(path, shown(source, advance))
    return {"file": str(path), "events": events, "left_out": dict(source.counts)}

"""An event log to next-item accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.evaluate import evaluate_leave_one_out
from pipeline.console import bar
from pipeline.sources import open_source

if TYPE_CHECKING:
    from rich.console import Console


def evaluate(
    model: str, source_kind: str, path: Path | None, console: Console | None = None
) -> dict[str, Any]:
    """Leave-one-out: each user's last item is to be found by an engine fitted without it.

    Args:
        model: a name in ``engines.evaluate.MODELS``.
        source_kind: kind of event log, see `pipeline.sources.SOURCES`.
        path: the log. Impressions are left out, as they never enter a history.
        console: shows progress; None shows none.

    Returns:
        ``log`` and what `evaluate_leave_one_out` returns.
    """
    sequences: dict[str, list[str]] = {}
    for event in open_source(source_kind, path):
        if event.event_type != "impression":
            sequences.setdefault(event.user_id, []).append(event.item_id)
    with bar(console, "ranking", len(sequences)) as advance:
        found = evaluate_leave_one_out(
            list(sequences.items()), model, lambda done, _: advance(done)
        )
    return {"log": path.name if path else source_kind} | found

"""An event log to next-item accuracy."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines import evaluate as judged
from engines.cold import cold_start
from engines.holdout import by_time, leave_one_out
from engines.models import kinds
from engines.models.interactions import Event
from pipeline.console import fitting, stages
from pipeline.sources import open_source
from pipeline.train import EventsOf, attributes, plan_of, validation_span

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Settings


def evaluate(
    settings: Settings,
    model: str,
    source_kind: str,
    path: Path | None,
    until_ms: int | None = None,
    validate_until_ms: int | None = None,
    items: Path | None = None,
    cold_items: float = 0.0,
    console: Console | None = None,
) -> dict[str, Any]:
    """Fits a model on a part of the log; what each user does next is to be found by its engine.

    Args:
        settings: how to train.
        model: a name in ``kinds.KINDS``, or "popularity".
        source_kind: kind of event log, see `pipeline.sources.SOURCES`.
        path: the log.
        until_ms, validate_until_ms: what happens between them is to be found, by an engine fitted
            on what was before; the fit is judged by the last part of that, of the same length.
            Without the second one the last event of each user is to be found, by an engine fitted
            on all but the last two before ``until_ms``.
        items: file with what is known of the items beside the log, see `pipeline.items`.
        cold_items: share of the items that the fit does not meet, and that are to be found; 0: see
            above.
        console: shows progress; None shows none.

    Returns:
        ``log``, ``split``, ``seconds``, and what `engines.evaluate.evaluate` or
        `engines.cold.cold_start` returns.

    Raises:
        SourceError: the log cannot be read.
        EngineError: there is no such model, nothing to fit on or nobody to test on.
        SettingsError: ``validate_until_ms`` is not after ``until_ms``.
    """
    began = time.monotonic()
    kinds.check_kind(model, (judged.POPULARITY,))
    from_ms, until_ms = validation_span(until_ms, validate_until_ms)
    source = open_source(source_kind, path, until_ms=until_ms)
    events = EventsOf(settings, source, console)
    held = leave_one_out(events) if from_ms is None else by_time(events, from_ms)
    with stages(console) as tell:
        plan = replace(
            plan_of(settings.train, None, fitting(tell)),
            validate_from_ms=_validate_from(held.log, from_ms, until_ms),
        )
        users = len(held.histories)

        def advance(done: int) -> None:
            tell("ranking", done, users)

        known = attributes(source, items)
        if cold_items:
            found = cold_start(model, held, cold_items, plan, known, advance)
        else:
            found = judged.evaluate(model, held, plan, known, advance)
    return {
        "log": path.name if path else source_kind,
        "split": "leave-one-out" if from_ms is None else "time",
        **found,
        "seconds": round(time.monotonic() - began, 3),
    }


def _validate_from(log: Iterable[Event], from_ms: int | None, until_ms: int | None) -> int | None:
    """From when on events judge the fit: they are to be like what is to be found then.

    None, if nothing would be left to fit on or the log is not split by time.
    """
    if from_ms is None or until_ms is None:
        return None
    start_ms = 2 * from_ms - until_ms
    return start_ms if any(event[3] < start_ms for event in log) else None

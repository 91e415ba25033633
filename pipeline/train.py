"""An event log to an engine bundle."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.models import cooccurrence
from engines.registry import Registry
from pipeline.console import bar
from pipeline.sources import EVENT_TYPES, Item, Source, open_source
from schemas.errors import EngineError

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Settings

MODELS = {"cooccurrence": cooccurrence.fit}
SHOW_EVERY = 10_000
_TYPE_NUMBERS = {name: number for number, name in enumerate(EVENT_TYPES)}


def train(
    settings: Settings,
    model: str,
    source_kind: str,
    path: Path | None,
    until_ms: int | None = None,
    name: str = "",
    console: Console | None = None,
) -> dict[str, Any]:
    """Fits a model and adds it to the store; it is not activated.

    Args:
        settings: where the store is.
        model: a name in ``MODELS``.
        source_kind: kind of event log, see `pipeline.sources.SOURCES`.
        path: the log.
        until_ms: train on events before this time only; None: on all.
        name: of the engine; empty: that of the model.
        console: shows progress; None shows none.

    Returns:
        ``engine`` (name@version), ``folder``, ``items``, ``events``, ``left_out`` (rows of the log,
        by reason), ``seconds``.

    Raises:
        SourceError: the log cannot be read.
        EngineError: there is no such model, or nothing to learn from.
    """
    if model not in MODELS:
        raise EngineError(
            "There is no such model", expected=", ".join(MODELS), received=model, fix="choose one"
        )
    source = open_source(source_kind, path, until_ms=until_ms)
    return train_on(settings, model, source, path.name if path else source_kind, name, console)


def train_on(
    settings: Settings,
    model: str,
    source: Source,
    log: str,
    name: str = "",
    console: Console | None = None,
) -> dict[str, Any]:
    """``train`` on a log that is open already; ``log`` is what the manifest calls it."""
    began = time.monotonic()
    counted = _Counted(source, console)
    fitted = MODELS[model](counted, _attributes(source.items()), log=log)
    bundle = Registry(settings.engine.store).add(fitted.draft(), name or model)
    return {
        "engine": bundle.label,
        "folder": str(bundle.folder),
        "items": len(bundle.catalogue),
        "events": counted.count,
        "left_out": dict(source.counts),
        "seconds": round(time.monotonic() - began, 3),
    }


class _Counted:
    """The log as models take it: (user_id, item_id, event type by number, event time in ms)."""

    def __init__(self, source: Source, console: Console | None) -> None:
        self.count = 0
        self._source = source
        self._console = console

    def __iter__(self) -> Iterator[tuple[str, str, int, int]]:
        with bar(self._console, "reading", self._source.total) as advance:
            for event in self._source:
                self.count += 1
                if self.count % SHOW_EVERY == 0:
                    advance(self._rows())
                kind = _TYPE_NUMBERS[event.event_type]
                yield event.user_id, event.item_id, kind, event.event_time
            advance(self._rows())

    def _rows(self) -> int:
        """Rows of the log that are done: events, and rows that were passed over."""
        return self.count + sum(self._source.counts.values())


def _attributes(items: Iterable[Item]) -> dict[str, dict[str, Any]]:
    """What the log knows of each item, by item id."""
    return {
        item.item_id: {k: v for k, v in asdict(item).items() if k != "item_id"} for item in items
    }

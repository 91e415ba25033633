"""An event log to an engine bundle."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.models import kinds
from engines.models.interactions import Event, Interactions
from engines.models.plan import FitSettings, Plan, Shape, Told
from engines.models.text import minilm
from engines.registry import Registry
from pipeline.console import bar, fitting, stages
from pipeline.items import read_items
from pipeline.sources import EVENT_TYPES, Source, open_source
from schemas.errors import SettingsError

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Settings
    from pipeline.engine_sections import TrainSettings

SHOW_EVERY = 10_000
_TYPE_NUMBERS = {name: number for number, name in enumerate(EVENT_TYPES)}


def train(
    settings: Settings,
    model: str,
    source_kind: str,
    path: Path | None,
    until_ms: int | None = None,
    validate_until_ms: int | None = None,
    name: str = "",
    items: Path | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Fits a model and adds it to the store; it is not activated.

    Args:
        settings: where the store is, and how to train.
        model: a name in ``engines.models.kinds.KINDS``.
        source_kind: kind of event log, see `pipeline.sources.SOURCES`.
        path: the log.
        until_ms: train on events before this time only; None: on all.
        validate_until_ms: judge the fit by the events from ``until_ms`` on and before this time,
            and then learn them too; None: judge it by the newest event of some users.
        name: of the engine; empty: that of the model.
        items: file with what is known of the items beside the log, see `pipeline.items`.
        console: shows progress; None shows none.

    Returns:
        ``engine`` (name@version), ``folder``, ``items``, ``events``, ``left_out`` (rows of the log
        and events of users, by reason), ``metrics`` of the validation, ``seconds``.

    Raises:
        SourceError: the log cannot be read.
        EngineError: there is no such model, a package that it needs is missing, or there is nothing
            to learn from.
        SettingsError: ``validate_until_ms`` is not after ``until_ms``.
    """
    kinds.check_kind(model)
    validate_from_ms, until_ms = validation_span(until_ms, validate_until_ms)
    source = open_source(source_kind, path, until_ms=until_ms)
    log = path.name if path else source_kind
    return train_on(settings, model, source, log, name, items, console, validate_from_ms)


def validation_span(
    until_ms: int | None, validate_until_ms: int | None
) -> tuple[int | None, int | None]:
    """Where the events that judge begin, and where the log ends; None leaves either open.

    Raises:
        SettingsError: they do not begin anywhere, or end before that.
    """
    if validate_until_ms is None:
        return None, until_ms
    if until_ms is None or until_ms >= validate_until_ms:
        raise SettingsError(
            "There is nothing between the two times",
            expected="--until, and a later --validate-until",
            received="no --until" if until_ms is None else "the later one first",
            fix="say until when to train, and until when to judge",
        )
    return until_ms, validate_until_ms


def train_on(
    settings: Settings,
    model: str,
    source: Source,
    log: str,
    name: str = "",
    items: Path | None = None,
    console: Console | None = None,
    validate_from_ms: int | None = None,
) -> dict[str, Any]:
    """``train`` on a log that is open already; ``log`` is what the manifest calls it."""
    began = time.monotonic()
    name = name or model
    events = EventsOf(settings, source, console)
    seen = Interactions.read(events, attributes(source, items), log)
    checkpoints = settings.run_dir / "training" / name
    with stages(console) as tell:
        plan = replace(
            plan_of(settings.train, checkpoints, fitting(tell)), validate_from_ms=validate_from_ms
        )
        fitted = kinds.fit(model, seen, plan)
    draft = fitted.draft(batch=settings.train.batch)
    bundle = Registry(settings.engine.store).add(draft, name)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return {
        "engine": bundle.label,
        "folder": str(bundle.folder),
        "items": len(bundle.catalogue),
        "events": events.count,
        "left_out": dict(source.counts) | events.left_out,
        "metrics": draft.metrics,
        "seconds": round(time.monotonic() - began, 3),
    }


def plan_of(train: TrainSettings, checkpoints: Path | None, told: Told) -> Plan:
    """The settings as models take them."""
    return Plan(
        seed=train.seed,
        shape=Shape.of_width(train.width, train.blocks, train.dropout),
        fit=FitSettings(
            epochs=train.epochs, patience=train.patience, learning_rate=train.learning_rate
        ),
        checkpoints=checkpoints,
        encode=minilm if train.text_encoder else None,
        told=told,
        head_weights={
            "click": train.click_weight,
            "cart": train.cart_weight,
            "purchase": train.purchase_weight,
        },
    )


class EventsOf:
    """A log as models take it; users of ``train.leave_out_users`` are passed over.

    Attributes:
        count: events that were given.
    """

    def __init__(self, settings: Settings, source: Source, console: Console | None) -> None:
        self.count = 0
        self._of_others = 0
        self._source = source
        self._console = console
        self._patterns = settings.train.user_patterns

    def __iter__(self) -> Iterator[Event]:
        patterns = self._patterns
        with bar(self._console, "reading", self._source.total) as advance:
            for number, event in enumerate(self._source):
                if number % SHOW_EVERY == 0:
                    advance(self._rows())
                if any(fnmatchcase(event.user_id, pattern) for pattern in patterns):
                    self._of_others += 1
                    continue
                self.count += 1
                kind = _TYPE_NUMBERS[event.event_type]
                yield event.user_id, event.item_id, kind, event.event_time
            advance(self._rows())

    @property
    def left_out(self) -> dict[str, int]:
        """How many events were passed over."""
        return {"left_out_users": self._of_others} if self._of_others else {}

    def _rows(self) -> int:
        """Rows of the log that are done: events, and rows that were passed over."""
        return self.count + self._of_others + sum(self._source.counts.values())


def attributes(source: Source, items: Path | None) -> dict[str, dict[str, Any]]:
    """What is known of each item, by item id: in the file ``items``, and beside it in the log."""
    known = {
        item.item_id: {k: v for k, v in asdict(item).items() if k != "item_id"}
        for item in source.items()
    }
    for item_id, given in (read_items(items) if items else {}).items():
        known[item_id] = known.get(item_id, {}) | given
    return known

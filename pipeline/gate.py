"""An engine of the store against the active one, and whether it may take that one's place."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.active import EngineRef
from engines.bundle import Bundle
from engines.gate import Thresholds, compare, judge
from engines.holdout import Holdout, by_time, leave_one_out
from engines.models.interactions import Event
from engines.registry import Registry
from engines.verdict import Verdict
from pipeline.console import bar
from pipeline.sources import open_source
from pipeline.train import EventsOf, validation_span
from schemas.errors import EngineError

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Settings
    from pipeline.engine_sections import GateSettings


def gate(
    settings: Settings,
    candidate: str,
    source_kind: str,
    path: Path | None,
    against: str = "",
    until_ms: int | None = None,
    validate_until_ms: int | None = None,
    html: Path | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Compares two engines on users held out of a log; the verdict is kept in the store.

    Args:
        settings: where the store is, and what an engine must be like.
        candidate: NAME or NAME@VERSION.
        source_kind: kind of event log, see `pipeline.sources.SOURCES`.
        path: the log.
        against: NAME or NAME@VERSION; empty: the active engine.
        until_ms, validate_until_ms: what users do between them is to be found; without the second
            one see `held_out`, with the log up to ``until_ms``.
        html: where to write a report; None writes none.
        console: shows progress; None shows none.

    Returns:
        ``passed``, ``checks`` and ``gated_at`` as in `Verdict`, ``log``, what `held_out` says of
        it, what `engines.gate.compare` returns, ``seconds`` and, if one was written, ``report``.

    Raises:
        SourceError: the log cannot be read.
        EngineError: there is no such engine, none is active, there is nobody to test on, or the
            report needs a package that is missing.
        SettingsError: ``validate_until_ms`` is not after ``until_ms``.
    """
    began = time.monotonic()
    from_ms, until_ms = validation_span(until_ms, validate_until_ms)
    if html:  # told before the work, not after it
        from engines.plots import check_installed

        check_installed()
    registry = Registry(settings.engine.store)
    ours = registry.open_named(candidate)
    theirs = registry.open_named(against) if against else registry.open_active()[0]
    source = open_source(source_kind, path, until_ms=until_ms)
    events = list(EventsOf(settings, source, console))
    held, split = held_out(events, (ours, theirs), from_ms, settings.gate.min_users)
    found = measured(settings, ours, theirs, held, console)
    verdict = decided(settings.gate, ours, theirs, found)
    registry.keep(verdict)
    told = {
        **verdict.model_dump(include={"passed", "checks", "gated_at"}),
        "log": path.name if path else source_kind,
        **split,
        **found,
        "seconds": round(time.monotonic() - began, 3),
    }
    if html:
        from engines.report import page

        html.write_text(page(told), encoding="utf-8")
        told["report"] = str(html)
    return told


def held_out(
    events: Sequence[Event], engines: Sequence[Bundle], from_ms: int | None, min_users: int
) -> tuple[Holdout, dict[str, Any]]:
    """Users of a log, and how they were held out.

    What they do from ``from_ms`` on is to be found. If that is None: what they do after all that
    the engines were trained on; or, if that leaves fewer than ``min_users``, their newest event,
    which the engines may then have learnt.

    Returns:
        the users; and JSON-ready ``split`` ("time" or "leave-one-out"), ``from_ms`` and
        ``seen_in_training``: whether accuracy is no more than a comparison.

    Raises:
        EngineError: there is nobody to test on.
    """
    # A training of unknown range may have met anything.
    ends = [bundle.manifest.training.last_event_time for bundle in engines]
    end_ms = None if None in ends else max(end for end in ends if end is not None)
    if from_ms is not None:
        seen = end_ms is None or end_ms >= from_ms
        return by_time(events, from_ms), _split("time", from_ms, seen)
    if end_ms is not None:
        with suppress(EngineError):  # nobody is new
            held = by_time(events, end_ms + 1)
            if len(held.histories) >= min_users:
                return held, _split("time", end_ms + 1, seen=False)
    return leave_one_out(events), _split("leave-one-out", None, seen=True)


def _split(split: str, from_ms: int | None, seen: bool) -> dict[str, Any]:
    return {"split": split, "from_ms": from_ms, "seen_in_training": seen}


def measured(
    settings: Settings, ours: Bundle, theirs: Bundle, held: Holdout, console: Console | None
) -> dict[str, Any]:
    """What `compare` finds on a sample of the users, with a progress bar."""
    users = held.sample(settings.gate.users, settings.gate.seed)
    with bar(console, "ranking", 2 * len(users.histories)) as advance:
        return compare(
            ours,
            theirs,
            users,
            seed=settings.gate.seed,
            threads=settings.engine.threads,
            batches=settings.gate.batches,
            progress=advance,
        )


def decided(gate: GateSettings, ours: Bundle, theirs: Bundle, found: dict[str, Any]) -> Verdict:
    """The verdict by the bounds in the settings."""
    bounds = {name: getattr(gate, name) for name in Thresholds.__dataclass_fields__}
    checks = judge(found, Thresholds(**bounds))
    return Verdict(
        candidate=EngineRef.of(ours),
        against=EngineRef.of(theirs),
        passed=all(check.passed for check in checks),
        checks=checks,
        gated_at=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
    )

"""An engine of the store, made smaller by one step."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.backends.base import Tensors
from engines.bundle import Bundle
from engines.compress.refit import REFITTED, refitted
from engines.compress.steps import CALIBRATED, STEPS, check, compressed
from engines.draft import Draft
from engines.holdout import leave_one_out
from engines.latency import DIFFERENT, full_batches
from engines.manifest import MODEL
from engines.models.interactions import Interactions
from engines.registry import Registry
from pipeline.console import fitting, stages
from pipeline.sources import open_source
from pipeline.train import EventsOf, attributes, plan_of
from schemas.errors import EngineError

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Settings


def compress(
    settings: Settings,
    engine: str,
    steps: Mapping[str, str],
    source_kind: str = "",
    path: Path | None = None,
    items: Path | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Adds a version of an engine that is smaller by one step; see `engines.compress`.

    Args:
        settings: where the store is.
        engine: NAME or NAME@VERSION.
        steps: one name in `engines.compress.steps.STEPS` or `engines.compress.refit.REFITTED`, and
            its value.
        source_kind: kind of the log to calibrate with or to fit on, see `pipeline.sources.SOURCES`.
        path: the log.
        items: file with what is known of the items beside the log, for the steps that fit.
        console: shows progress; None shows none.

    Returns:
        ``engine`` (name@version), ``folder``, ``parent``, ``step``, bytes of all files and of the
        model alone ``before`` and ``after``, ``seconds``, and the command that comes ``next``.

    Raises:
        SourceError: the log cannot be read.
        EngineError: not one step, no such engine, nothing in it for this step, or nobody in the
            log to calibrate with.
    """
    began = time.monotonic()
    step, value = _only(steps)
    registry = Registry(settings.engine.store)
    bundle = registry.open_named(engine)
    if step in REFITTED:
        draft = _refitted(settings, bundle, step, value, source_kind, path, items, console)
    else:
        check(bundle, step)  # told before the log is read
        batches: Sequence[Tensors] = ()
        if step == CALIBRATED:
            batches = _batches(settings, bundle, source_kind, path, console)
        draft = compressed(bundle, step, batches, value)
    made = registry.add(draft, bundle.manifest.name)
    return {
        "engine": made.label,
        "folder": str(made.folder),
        "parent": bundle.label,
        "step": step,
        "before": _sizes(bundle),
        "after": _sizes(made),
        "seconds": round(time.monotonic() - began, 3),
        "next": f"headrace gate {made.label} --against {bundle.label} --source ...",
    }


def _only(steps: Mapping[str, str]) -> tuple[str, str]:
    if len(steps) != 1:
        known = ", ".join(f"--{step}" for step in (*STEPS, *REFITTED))
        raise EngineError(
            "an engine is compressed by one step at a time",
            expected=f"one of {known}",
            received=" ".join(f"--{step}" for step in steps) or "none",
            fix="give one; compress the result for the next",
        )
    return next(iter(steps.items()))


def _refitted(
    settings: Settings,
    bundle: Bundle,
    step: str,
    value: str,
    source_kind: str,
    path: Path | None,
    items: Path | None,
    console: Console | None,
) -> Draft:
    """The engine after a step that fits on the events of a log."""
    _check_source(source_kind)
    source = open_source(source_kind, path)
    known = attributes(source, items)
    log = path.name if path else source_kind
    seen = Interactions.read(EventsOf(settings, source, console), known, log)
    with stages(console) as tell:
        plan = plan_of(settings.train, None, fitting(tell))
        return refitted(bundle, step, value, seen, plan)


def _check_source(source_kind: str) -> None:
    if not source_kind:
        raise EngineError(
            "this step needs a log",
            expected="--source KIND and a log",
            received="neither",
            fix="give the log that the engine was trained on",
        )


def _batches(
    settings: Settings, bundle: Bundle, source_kind: str, path: Path | None, console: Console | None
) -> list[Tensors]:
    """Users of a log as the engine will see them: all but the newest event of each."""
    _check_source(source_kind)
    events = list(EventsOf(settings, open_source(source_kind, path), console))
    if not events:
        raise EngineError(
            "there is nobody to calibrate with",
            expected="a log with users who have two items or more",
            received=f"no event in {path or source_kind}",
            fix="calibrate with the log that the engine was trained on",
        )
    held = leave_one_out(events)
    users = held.sample(DIFFERENT * bundle.manifest.batch, settings.train.seed)
    return full_batches(bundle, users.histories, users.excluded)


def _sizes(bundle: Bundle) -> dict[str, int]:
    manifest = bundle.manifest
    return {"size_bytes": manifest.size_bytes, "model_bytes": manifest.files[MODEL].size_bytes}

"""An engine of the store, made smaller by one step."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.backends.base import Tensors
from engines.bundle import Bundle
from engines.compress.steps import CALIBRATED, check, compressed
from engines.holdout import leave_one_out
from engines.latency import DIFFERENT, full_batches
from engines.manifest import MODEL
from engines.registry import Registry
from pipeline.gate import opened
from pipeline.sources import open_source
from pipeline.train import EventsOf
from schemas.errors import EngineError

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Settings


def compress(
    settings: Settings,
    engine: str,
    steps: Sequence[str],
    source_kind: str = "",
    path: Path | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Adds a version of an engine that is smaller by one step; see `engines.compress`.

    Args:
        settings: where the store is.
        engine: NAME or NAME@VERSION.
        steps: one name in `engines.compress.steps.STEPS`.
        source_kind: kind of the log to calibrate with, see `pipeline.sources.SOURCES`.
        path: the log.
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
    step = _only(steps)
    registry = Registry(settings.engine.store)
    bundle = opened(registry, engine)
    check(bundle, step)  # told before the log is read
    batches: Sequence[Tensors] = ()
    if step == CALIBRATED:
        batches = _batches(settings, bundle, source_kind, path, console)
    made = registry.add(compressed(bundle, step, batches), bundle.manifest.name)
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


def _only(steps: Sequence[str]) -> str:
    if len(steps) != 1:
        raise EngineError(
            "an engine is compressed by one step at a time",
            expected="one of --fp16, --int8, --int8-weights and --int8-items",
            received=" ".join(f"--{step}" for step in steps) or "none",
            fix="give one; compress the result for the next",
        )
    return steps[0]


def _batches(
    settings: Settings, bundle: Bundle, source_kind: str, path: Path | None, console: Console | None
) -> list[Tensors]:
    """Users of a log as the engine will see them: all but the newest event of each."""
    if not source_kind:
        raise EngineError(
            "int8 activations need scales out of a log",
            expected="--source KIND and a log",
            received="neither",
            fix="calibrate with the log that the engine was trained on",
        )
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
    files = bundle.manifest.files
    return {
        "size_bytes": sum(entry.size_bytes for entry in files.values()),
        "model_bytes": files[MODEL].size_bytes,
    }

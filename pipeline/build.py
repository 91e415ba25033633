"""An engine of the store with a plan of TensorRT."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from engines.backends.tensorrt.build import build as build_plan
from engines.backends.tensorrt.build import builder
from engines.backends.tensorrt.progress import Told
from engines.bundle import Bundle
from engines.draft import draft_of
from engines.manifest import GpuPlan
from engines.registry import Registry
from pipeline.console import stages

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import Settings


def build(settings: Settings, engine: str, console: Console | None = None) -> dict[str, Any]:
    """Adds a version of an engine that carries a plan, beside those of other GPUs that it had.

    Args:
        settings: where the store is.
        engine: NAME or NAME@VERSION.
        console: shows progress; None shows none.

    Returns:
        ``engine`` (name@version), ``folder``, ``gpu``, ``tensorrt``, ``plan_bytes``, ``seconds``.

    Raises:
        EngineError: there is no such engine, or no TensorRT or GPU to build it with, or TensorRT
            cannot run its model.
    """
    began = time.monotonic()
    registry = Registry(settings.engine.store)
    bundle = registry.open_named(engine)
    with stages(console) as tell:
        made, plan = with_plan(registry, bundle, tell)
    return {
        "engine": made.label,
        "folder": str(made.folder),
        "gpu": plan.gpu,
        "tensorrt": f"{plan.flavour} {plan.version}",
        "plan_bytes": len(made.plans[plan.file]),
        "seconds": round(time.monotonic() - began, 3),
    }


def with_plan(registry: Registry, bundle: Bundle, told: Told) -> tuple[Bundle, GpuPlan]:
    """The version that is added, and its new plan; see `build`."""
    tensorrt, gpu = builder()
    plan, data = build_plan(bundle, tensorrt, gpu, registry.store / ".cache", told)
    draft = draft_of(bundle)
    others = tuple((other, kept) for other, kept in draft.plans if other.gpu != plan.gpu)
    made = registry.add(replace(draft, plans=(*others, (plan, data))), bundle.manifest.name)
    return made, plan

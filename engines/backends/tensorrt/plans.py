"""Which of a bundle's plans can run here: the one for exactly this GPU, driver and TensorRT."""

from __future__ import annotations

from collections.abc import Sequence

from engines.backends.tensorrt.api import TensorRT
from engines.backends.tensorrt.gpu import Gpu
from engines.bundle import Bundle
from engines.manifest import GpuPlan
from schemas.errors import EngineError

PORTABLE = "portable"
"""Stands for the GPU of a plan that runs on many."""


def check_plan(bundle: Bundle) -> None:
    """Refuse a bundle without a plan, as far as can be told where the GPU is not.

    Raises:
        EngineError: it has none.
    """
    if not bundle.plans:
        raise EngineError(
            f"{bundle.label} has no plan for TensorRT",
            expected="a bundle with a plan",
            received="one without",
            fix=f"headrace build {bundle.label} --backend tensorrt; or engine.backend = auto",
        )


def fitting(bundle: Bundle, gpu: Gpu, packages: Sequence[TensorRT]) -> tuple[GpuPlan, TensorRT]:
    """The plan to run, and the package that runs it. Nothing is deserialised.

    That it is whole and of this very model was seen when the bundle was opened.

    Args:
        bundle: verified.
        gpu: that is here.
        packages: that are here.

    Raises:
        EngineError: none fits; says why of each.
    """
    reasons = []
    for plan in sorted(bundle.manifest.plans, key=lambda plan: plan.gpu == PORTABLE):
        package = next((p for p in packages if p.flavour == plan.flavour), None)
        reason = _misfit(plan, gpu, package)
        if package and not reason:
            return plan, package
        reasons.append(f"{plan.file} is for {reason}")
    raise EngineError(
        f"no plan of {bundle.label} fits this machine",
        expected=f"one for {gpu}, built by {' or '.join(map(str, packages))}",
        received="; ".join(reasons),
        fix=f"headrace build {bundle.label} --backend tensorrt, on this machine",
    )


def _misfit(plan: GpuPlan, gpu: Gpu, package: TensorRT | None) -> str:
    """What the plan is for and this machine is not; empty if it fits."""
    if package is None or package.version != plan.version:
        return f"{plan.flavour} {plan.version}"
    if plan.gpu == PORTABLE:
        return ""
    if plan.gpu != gpu.slug:
        return f"the GPU {plan.gpu}"
    if plan.driver is None or plan.driver.partition(".")[0] != str(gpu.cuda[0]):
        return f"a driver for CUDA {plan.driver}"
    return ""

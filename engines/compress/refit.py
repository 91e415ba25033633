"""The steps after which an engine is fitted on, by name: each needs a log, and PyTorch."""

from __future__ import annotations

from dataclasses import replace

from engines.bundle import Bundle
from engines.draft import Draft
from engines.models.interactions import Interactions
from engines.models.plan import Plan

REFITTED = ("distill", "prune", "sparsity", "two-of-four")


def refitted(bundle: Bundle, step: str, value: str, seen: Interactions, plan: Plan) -> Draft:
    """The engine after one step; its parent is the bundle.

    Args:
        step: one of REFITTED.
        value: of "distill" the student's model; of "prune" what is kept, such as
            "heads=1,hidden=64"; of "sparsity" the share of each matrix that becomes 0.
        seen: the log to fit on.
        plan: of the fit; only "distill" looks at its shape and at its weights of heads.

    Raises:
        EngineError: the engine has no weights to go on from, or less than is to be kept.
    """
    from engines.compress.distill import distilled
    from engines.compress.prune import Kept, pruned
    from engines.compress.sparsify import sparsified

    if step == "distill":
        draft = distilled(bundle, value, seen, plan)
    elif step == "prune":
        draft = pruned(bundle, seen, plan, Kept.parsed(value))
    else:
        draft = sparsified(bundle, seen, plan, float(value) if step == "sparsity" else None)
    return replace(draft, parameters={**draft.parameters, "compression": f"{step} {value}".strip()})

"""Sparse weights: the smallest numbers of each matrix are 0, and the rest is fitted on.

a share        no faster anywhere here, but smaller once it is packed
two of four    half of each four numbers in a row: what GPUs since Ampere multiply faster
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.utils.prune import L1Unstructured

from engines.bundle import Bundle
from engines.compress.fitted_on import fitted_on, network_of, vectors_of
from engines.draft import Draft
from engines.models.fitting import Start
from engines.models.interactions import Interactions
from engines.models.plan import Plan


def sparsified(bundle: Bundle, seen: Interactions, plan: Plan, share: float | None) -> Draft:
    """An engine of which a share of each matrix is 0, fitted on.

    Args:
        bundle: a ``sasrec`` or ``blend`` engine.
        seen: the log to fit on.
        plan: of that; its shape is not looked at.
        share: above 0 and below 1; None: two of each four.

    Raises:
        EngineError: it is another engine.
    """
    network = network_of(bundle)
    torch.manual_seed(plan.seed)
    split = plan.split(seen)
    matrices = {
        f"{name}.weight": module.weight.detach()
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear)
    }
    masks = {
        name: two_of_four(matrix) if share is None else largest(matrix, 1 - share)
        for name, matrix in matrices.items()
    }
    vectors = vectors_of(bundle, split.train, network.shape.width)
    start = Start(vectors, network.state_dict(), masks)
    return fitted_on(bundle, split, replace(plan, shape=network.shape), start)


def largest(matrix: Tensor, share: float) -> Tensor:
    """Which numbers of a matrix are the largest ones that make up a share of it, bool."""
    method = L1Unstructured(1 - share)
    mask: Tensor = method.compute_mask(matrix, torch.ones_like(matrix))  # type: ignore[no-untyped-call]
    return mask.bool()


def two_of_four(matrix: Tensor) -> Tensor:
    """Which two of each four numbers in a row are the largest, bool [n, 4 m]."""
    fours = matrix.abs().reshape(-1, 4)
    kept = fours.topk(2, dim=1).indices
    return torch.zeros_like(fours, dtype=torch.bool).scatter(1, kept, True).view(matrix.shape)

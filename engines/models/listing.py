"""From scores to lists in PyTorch, in operations that become ONNX ones of fixed shapes.

A tie goes to the lower index in ONNX; PyTorch promises nothing of the kind.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engines.models.top_k import group_size


def best(score: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of each row, falling, and their places: float32 and int64 [B, k].

    In two steps, as ``top_k`` draws it: the best groups by index, then the best of their members.

    Args:
        score: float32 [B, W]; W is ``top_k.padded(W, k)``.
    """
    batch, width = score.shape
    size = group_size(width, k)
    if size == 1:
        scores, places = score.topk(k)
        return scores, places
    grouped = score.view(batch, width // size, size)
    groups = grouped.amax(2).topk(k).indices.topk(k, largest=False).values
    members = grouped.gather(1, groups[:, :, None].expand(-1, -1, size)).reshape(batch, k * size)
    places = (groups[:, :, None] * size + torch.arange(size)).reshape(batch, k * size)
    scores, at = members.topk(k)
    return scores, places.gather(1, at)


def without(score: Tensor, excluded: Tensor) -> Tensor:
    """Scores [B, C] with those of ``excluded`` int64 [B, X] at -inf."""
    return score.scatter(1, excluded, -torch.inf)

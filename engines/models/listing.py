"""From scores to lists in PyTorch, in operations that become ONNX ones of fixed shapes.

A tie goes to the lower index in ONNX; PyTorch promises nothing of the kind.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engines.models.top_k import group_size, tiles_of


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
    members_of = groups[:, :, None] * size + torch.arange(size, device=score.device)
    places = members_of.reshape(batch, k * size)
    scores, at = members.topk(k)
    return scores, places.gather(1, at)


def best_products(
    told: Tensor, vectors: Tensor, added: Tensor, excluded: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """The k best of told @ vectors.T + added but for ``excluded``, as `best` gives them.

    Of a large catalogue no row of scores is ever whole: each tile gives as many as could be needed
    if all that is excluded were among them, and what is excluded is left out of these.

        tile 1: k + X best ─┐
        tile 2: k + X best ─┼─▶ in order of tile ─▶ without the excluded ─▶ k best
        ...                ─┘

    Args:
        told: float32 [B, D].
        vectors: float32 [C, D]; C is ``top_k.capacity(C, k)``.
        added: float32 [1, C].
        excluded: int64 [B, X].
    """
    tiles = tiles_of(len(vectors))
    if tiles == 1:  # nothing goes over [B, C] but the product: runtimes add the row on the way
        return best(without(told @ vectors.T + added, excluded), k)
    width, kept = len(vectors) // tiles, k + excluded.shape[1]
    parts = []
    for start in range(0, len(vectors), width):
        tile = slice(start, start + width)
        scores, places = best(told @ vectors[tile].T + added[:, tile], kept)
        parts.append((scores, places + start))
    scores, items = (torch.cat(part, 1) for part in zip(*parts, strict=True))
    shut = (items[:, :, None] == excluded[:, None, :]).any(2)
    scores, at = scores.masked_fill(shut, -torch.inf).topk(k)
    return scores, items.gather(1, at)


def without(score: Tensor, excluded: Tensor) -> Tensor:
    """Scores [B, C] with those of ``excluded`` int64 [B, X] at -inf."""
    return score.scatter(1, excluded, -torch.inf)

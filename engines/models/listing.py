"""From scores to lists in PyTorch, in operations that become ONNX ones of fixed shapes.

A tie goes to the lower index in ONNX; PyTorch promises nothing of the kind.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

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
    maxima, groups = score.view(batch, width // size, size).amax(2).topk(k, sorted=False)
    groups = groups.topk(k, largest=False).values
    rows = groups + torch.arange(batch, device=score.device)[:, None] * (width // size)
    members = functional.embedding(rows, score.view(-1, size)).view(batch, k * size)
    scores, at = torch.maximum(members, _below(maxima)).topk(k)
    return scores, groups.gather(1, at // size) * size + at % size


def _below(maxima: Tensor) -> Tensor:
    """A bound [B, 1] under all of [B, k]: what is no higher than that is none of the k best.

    Where all such members are alike, ``TopK`` need not bring them in order: half of its time.
    """
    least = maxima.amin(1, keepdim=True)
    return least - 1e-6 * (least.abs() + 1)


class Products:
    """told @ vectors.T + added, and -inf for ``excluded``: the best of a row, and any of it.

    Of a large catalogue no row of scores is ever whole: each tile gives as many as could be needed
    if all that is excluded were among them, and what is excluded is left out of these.

        tile 1: k + X best ─┐
        tile 2: k + X best ─┼─▶ in order of tile ─▶ without the excluded ─▶ k best
        ...                ─┘

    Args:
        told: float32 [B, D].
        vectors: float32 [C, D]; C is ``top_k.capacity(C, k)`` for every k that is asked for.
        added: float32 [1, C].
        excluded: int64 [B, X].
    """

    def __init__(self, told: Tensor, vectors: Tensor, added: Tensor, excluded: Tensor) -> None:
        self.told, self.vectors, self.added, self.excluded = told, vectors, added, excluded
        self.tiles = tiles_of(len(vectors))
        if self.tiles == 1:  # nothing goes over [B, C] but the product: runtimes add the row there
            self.row = (told @ vectors.T + added).scatter(1, excluded, -torch.inf)

    def best(self, k: int) -> tuple[Tensor, Tensor]:
        """The k best as `best` gives them."""
        if self.tiles == 1:
            return best(self.row, k)
        width, kept = len(self.vectors) // self.tiles, k + self.excluded.shape[1]
        parts = []
        for start in range(0, len(self.vectors), width):
            tile = slice(start, start + width)
            scores, places = best(self.told @ self.vectors[tile].T + self.added[:, tile], kept)
            parts.append((scores, places + start))
        scores, items = (torch.cat(part, 1) for part in zip(*parts, strict=True))
        scores, at = scores.masked_fill(among(items, self.excluded) > 0, -torch.inf).topk(k)
        return scores, items.gather(1, at)

    def at(self, items: Tensor) -> Tensor:
        """The scores [B, M] of ``items`` int64 [B, M], none of which is excluded."""
        if self.tiles == 1:
            return self.row.gather(1, items)
        products = functional.embedding(items, self.vectors) @ self.told[:, :, None]
        return products[:, :, 0] + self.added[0, items]


def best_products(
    told: Tensor, vectors: Tensor, added: Tensor, excluded: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """The k best of `Products`, as `best` gives them."""
    return Products(told, vectors, added, excluded).best(k)


def among(items: Tensor, some: Tensor) -> Tensor:
    """1 where one of int64 [B, M] is among ``some`` int64 [B, N], and else 0: float32 [B, M]."""
    return (items[:, None, :] == some[:, :, None]).float().amax(1)

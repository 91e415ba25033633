"""Co-occurrence in PyTorch: what came soon after a user's last items, and how often.

    neighbours, weights of the last events [B, N] ─▶ those of one item added up ─▶ scores

In a catalogue of one tile, as of ``top_k``, they are added into a row of all items. In a larger one
such a row would be little but zeros: there each neighbour is compared with all others.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from engines.models.listing import among, best
from engines.models.top_k import tiles_of


class Successors:
    """The scores of all items: the best of them, and any.

    Args:
        neighbours: int64 [B, N], 0 being none.
        weights: float32 [B, N], 0 where there is none.
        available: float32 [1, C], 0 or -inf; C is ``top_k.capacity(C, k)`` for every k asked for.
        excluded: int64 [B, X].
    """

    def __init__(
        self, neighbours: Tensor, weights: Tensor, available: Tensor, excluded: Tensor
    ) -> None:
        self.neighbours, self.weights = neighbours, weights
        self.available, self.excluded = available, excluded
        self.whole = tiles_of(available.shape[1]) == 1
        if self.whole:
            items = torch.cat([neighbours, excluded], 1)
            added = functional.pad(weights, (0, excluded.shape[1]), value=-torch.inf)
            self.row = available.expand(len(items), -1).scatter_add(1, items, added)

    def best(self, k: int) -> tuple[Tensor, Tensor]:
        """The k best as `listing.best` gives them."""
        if self.whole:
            return best(self.row, k)
        items = functional.pad(self.neighbours, (0, max(0, k - self.neighbours.shape[1])))
        items = items.topk(items.shape[1], largest=False).values
        items = items * first_of_equal(items)
        shut = among(items, self.excluded) > 0
        scores, at = self.at(items).masked_fill(shut, -torch.inf).topk(k)
        return scores, items.gather(1, at)

    def at(self, items: Tensor) -> Tensor:
        """The scores [B, M] of ``items`` int64 [B, M], none of which is excluded."""
        if self.whole:
            return self.row.gather(1, items)
        same = (items[:, :, None] == self.neighbours[:, None, :]).float()
        return (same @ self.weights[:, :, None])[:, :, 0] + self.available[0, items]


def first_of_equal(rising: Tensor) -> Tensor:
    """1 where int64 [B, M] differs from the one before, and else 0: int64 [B, M]."""
    return functional.pad((rising[:, 1:] != rising[:, :-1]).long(), (1, 0), value=1)

"""A sequence network and its item vectors while they are fitted, and what they are fitted by.

    loss of a target t:   -log( e^l(t) / (e^l(t) + sum over sampled n of e^l(n) / (N q(n))) )

the sampled softmax with log-q correction: N items are drawn once a batch, with chances q that grow
with the root of popularity; each stands for 1 / (N q) of its kind, so the sum is without bias what
it would be over all items. Items drawn that are the target itself are left out.

Where a teacher has listed items for the newest event of a window, half of the loss is by them: the
mean over its list of -log of their softmax, its first counting most.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from engines.models.network import SequenceNetwork
from engines.models.plan import Shape


class Trainee(nn.Module):
    """A network and the item vectors that are fitted with it.

    Args:
        vectors: float32 [I+1, D] to begin with.
        shape: of the network.
    """

    def __init__(self, vectors: Tensor, shape: Shape) -> None:
        super().__init__()
        self.items = nn.Embedding(len(vectors), shape.width, _weight=vectors)
        self.network = SequenceNetwork(shape)

    def vectors(self) -> Tensor:
        """Unit vectors [I+1, D]; that of the unknown item is 0."""
        known = torch.arange(len(self.items.weight), device=self.items.weight.device) > 0
        return functional.normalize(self.items.weight, dim=-1) * known[:, None]

    def forward(self, batch: Mapping[str, Tensor], drawn: Tensor, log_nq: Tensor) -> Tensor:
        """The mean loss of a batch.

        Args:
            batch: ``item``, ``event_type``, ``gap_s`` and ``target`` [B, L], pads being 0; from a
                teacher also ``listed`` [B, K], 0 where a list has ended.
            drawn: int64 [N] items.
            log_nq: float32 [N] log(N q) of each.
        """
        item, target = batch["item"], batch["target"].flatten()
        listed = batch.get("listed", item[:, :0])
        used = torch.cat([item.flatten(), target, drawn, listed.flatten()])
        vectors = functional.normalize(self.items(used), dim=-1)
        sizes = [item.numel(), len(target), len(drawn), listed.numel()]
        seen, wanted, others, taught = torch.split(vectors, sizes)
        seen = seen.view(*item.shape, -1) * (item != 0)[..., None]
        asked = item.shape[1]
        told = self.network(seen, item, batch["event_type"], batch["gap_s"], asked)
        newest, told = told[:, -1], told.flatten(0, 1)
        filled = target != 0
        told, wanted, target = told[filled], wanted[filled], target[filled]
        of_target = (told * wanted).sum(-1, keepdim=True)
        of_drawn = (told @ others.T - log_nq).masked_fill(target[:, None] == drawn, -torch.inf)
        logits = torch.cat([of_target, of_drawn], 1)
        loss = functional.cross_entropy(logits, torch.zeros_like(target))
        if not listed.numel():
            return loss
        of_listed = torch.einsum("bd,bkd->bk", newest, taught.view(*listed.shape, -1))
        return (loss + listwise(of_listed, listed, newest @ others.T - log_nq, drawn)) / 2

    @torch.no_grad()
    def places(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Place of the newest event's target among all items but those of the window, int64 [B]."""
        item, target = batch["item"], batch["target"][:, -1:]
        vectors = self.vectors()
        told = self.network(vectors[item], item, batch["event_type"], batch["gap_s"], 1)[:, 0]
        logits = told @ vectors.T
        wanted = logits.gather(1, target)
        logits = logits.scatter(1, item, -torch.inf)
        places: Tensor = (logits[:, 1:] > wanted).sum(1) + 1
        return places


def listwise(of_listed: Tensor, listed: Tensor, of_drawn: Tensor, drawn: Tensor) -> Tensor:
    """The mean loss by a teacher's lists; see the head of this module.

    The item in place p counts by 1/log2(p + 1), as in NDCG. Items drawn that are on the list are
    left out.

    Args:
        of_listed: float32 [B, K] logits of the items ``listed`` [B, K], best first.
        of_drawn: float32 [B, N] logits, corrected, of the items ``drawn`` [N].
    """
    on_list = (listed[:, :, None] == drawn).any(1)
    known = listed != 0
    logits = torch.cat(
        [of_listed.masked_fill(~known, -torch.inf), of_drawn.masked_fill(on_list, -torch.inf)], 1
    )
    away = logits.logsumexp(1, keepdim=True) - of_listed
    places = torch.arange(1, listed.shape[1] + 1, device=listed.device)
    weight = known / torch.log2(places + 1.0)
    loss: Tensor = (away * weight).sum() / weight.sum().clamp(min=1)
    return loss


class Draws:
    """Items drawn as negatives, with chances that grow with the root of popularity.

    Args:
        popularity: float64 [I+1].
        number: N of a batch.
    """

    def __init__(self, popularity: NDArray[np.float64], number: int) -> None:
        weight = np.sqrt(np.maximum(popularity[1:], 1.0))
        chance = weight / weight.sum()
        self._number = number
        self._ends = np.cumsum(chance)
        self._log_nq = np.log(number * chance).astype(np.float32)

    def draw(self, chance: np.random.Generator) -> tuple[Tensor, Tensor]:
        """int64 [N] items and float32 [N] log(N q) of each."""
        at = np.searchsorted(self._ends[:-1], chance.random(self._number), side="right")
        return torch.from_numpy(at + 1), torch.from_numpy(self._log_nq[at])

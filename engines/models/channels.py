"""Multi-channel recall in PyTorch: every channel names candidates, each candidate counts once.

features, tables ─▶ scores of all items by sequence, co-occurrence, content [B, C]
                    ├▶ the best of each channel, and what is in trend and popular ─▶ slots [B, M]
                    │     slots in the order 1st of every channel, 2nd of every channel, ...
                    │     sorted by item: of equal ones the first slot stays, the rest are void
                    └▶ of each slot's item: what all channels say of it ─▶ features [B, M, F]
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from engines.models.listing import best, without
from engines.models.network import NewestScorer, SequenceNetwork
from engines.models.voices import Voices, taste

CHANNELS = ("sequence", "cooccurrence", "content", "trend", "popularity")
SIZES = {"sequence": 100, "cooccurrence": 100, "content": 40, "trend": 20, "popularity": 20}
"""How many candidates each channel names."""
FEATURES = (*CHANNELS, "seen", "events")
FAINT = {"cooccurrence": 0.02, "trend": 1e-4, "popularity": 1e-4}
"""What is added before a logarithm is taken: where a channel's voice ends."""


class Candidates(NamedTuple):
    """Those of ``B`` users.

    Args:
        item: int64 [B, M], rising; 0 where a slot is void.
        channel: int64 [B, M] index into CHANNELS of the one that put it highest.
        feature: float32 [B, M, F] in the order of FEATURES.
    """

    item: Tensor
    channel: Tensor
    feature: Tensor


class Channels(nn.Module):
    """Names candidates and says what is known of them.

    Args:
        network: fitted.
    """

    order: Tensor
    slot_channel: Tensor

    def __init__(self, network: SequenceNetwork) -> None:
        super().__init__()
        self.scorer = NewestScorer(network)
        self.voices = Voices()
        place = np.concatenate([np.arange(size) for size in SIZES.values()])
        channel = np.repeat(np.arange(len(SIZES)), list(SIZES.values()))
        order = np.lexsort((channel, place))
        self.register_buffer("order", torch.from_numpy(order))
        self.register_buffer("slot_channel", torch.from_numpy(channel[order]))

    def forward(
        self,
        item: Tensor,
        event_type: Tensor,
        gap_s: Tensor,
        excluded: Tensor,
        item_vectors: Tensor,
        content_vectors: Tensor,
        neighbours: Tensor,
        neighbour_weights: Tensor,
        item_popularity: Tensor,
        item_trend: Tensor,
        popular: Tensor,
        trending: Tensor,
        available: Tensor,
    ) -> Candidates:
        """The candidates; the arguments are features, and tables as of ``blend.blend_tables``."""
        told, known = self.scorer(item, event_type, gap_s, item_vectors)
        sequence = told @ item_vectors.T
        recent, voice = self.voices(item, event_type)
        weights = neighbour_weights[recent] * voice[:, :, None]
        cooccurrence = torch.zeros_like(sequence).scatter_add(
            1, neighbours[recent].flatten(1), weights.flatten(1)
        )
        content = taste(content_vectors, recent, voice) @ content_vectors.T
        listed = without(available.expand(len(item), -1), excluded)
        named = [
            best(_only(known, sequence) + listed, SIZES["sequence"]),
            best(_only(cooccurrence > 0, cooccurrence) + listed, SIZES["cooccurrence"]),
            best(_only(content > 0, content) + listed, SIZES["content"]),
            _first(trending, listed, SIZES["trend"]),
            _first(popular, listed, SIZES["popularity"]),
        ]
        slots = torch.cat([torch.where(score > -torch.inf, ids, 0) for score, ids in named], 1)
        candidate, channel = self._once(slots[:, self.order])
        seen = (candidate[:, :, None] == item[:, None, :]).any(2)
        events = torch.log1p((item != 0).sum(1, keepdim=True).float())
        feature = torch.stack(
            [
                sequence.gather(1, candidate),
                _log("cooccurrence", cooccurrence.gather(1, candidate)),
                content.gather(1, candidate),
                _log("trend", item_trend.expand(len(item), -1).gather(1, candidate)),
                _log("popularity", item_popularity.expand(len(item), -1).gather(1, candidate)),
                seen.float(),
                events.expand(-1, candidate.shape[1]),
            ],
            2,
        )
        return Candidates(candidate, channel, feature)

    def _once(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Each item of slots int64 [B, M] once, rising, and the channel of its first slot."""
        size = slots.shape[1]
        # Keys are distinct, so every runtime sorts them alike.
        keys = slots * size + torch.arange(size, device=slots.device)
        place = keys.topk(size, largest=False).indices
        candidate = slots.gather(1, place)
        again = torch.zeros_like(candidate[:, :1])
        repeated = torch.cat([again, (candidate[:, 1:] == candidate[:, :-1]).long()], 1)
        return candidate * (1 - repeated), self.slot_channel[place]


def _only(spoken: Tensor, score: Tensor) -> Tensor:
    """The scores where a channel has something to say, -inf elsewhere."""
    return torch.where(spoken, score, -torch.inf)


def _first(ids: Tensor, listed: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """The first of ids [1, P] that can be listed, as `best` gives them."""
    ids = ids.expand(len(listed), -1)
    falling = -torch.arange(ids.shape[1], device=ids.device, dtype=listed.dtype)
    score, place = (listed.gather(1, ids) + falling).topk(number)
    return score, ids.gather(1, place)


def _log(channel: str, value: Tensor) -> Tensor:
    return torch.log(value + FAINT[channel])


class BlendLister(nn.Module):
    """The lists of the ``blend`` engine.

    Args:
        channels, ranker: fitted.
        k: how many items a list has.
    """

    def __init__(self, channels: Channels, ranker: nn.Module, k: int) -> None:
        super().__init__()
        self.channels = channels
        self.ranker = ranker
        self.k = k

    def forward(self, **given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``scores``, ``items``, ``channels`` [B, k] of features and tables, as `Channels` has."""
        found = self.channels(**given)
        score = torch.where(found.item > 0, self.ranker(found.feature), -torch.inf)
        scores, place = score.topk(self.k)
        return scores, found.item.gather(1, place), found.channel.gather(1, place)

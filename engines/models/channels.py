"""Multi-channel recall in PyTorch: every channel names candidates, each candidate counts once.

features, tables ─▶ sequence, co-occurrence, content: the best of all items ─┐
                    trend, popularity: the first that can be listed ─────────┴▶ slots [B, M]
    slots are sorted by item: of equal ones that of best rank stays, the rest are void
                              ranks: 1st of every channel, 2nd of every channel, ...
    of each slot's item, what all channels say of it ─▶ features [B, M, F]
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.models.listing import Products, among
from engines.models.network import NewestScorer, SequenceNetwork
from engines.models.successors import Successors, first_of_equal
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
        slot: int64 [B, M], the slot in which a channel put it highest; see `Channels.channel`.
        feature: float32 [B, M, F] in the order of FEATURES, finite in a void slot too.
    """

    item: Tensor
    slot: Tensor
    feature: Tensor


class Channels(nn.Module):
    """Names candidates and says what is known of them.

    Args:
        network: fitted.

    Attributes:
        channel: int64 [M] index into CHANNELS of each slot.
        rank: int64 [M] of each slot: the first of every channel, the second of every channel, ...
    """

    channel: Tensor
    rank: Tensor

    def __init__(self, network: SequenceNetwork) -> None:
        super().__init__()
        self.scorer = NewestScorer(network)
        self.voices = Voices()
        place = np.concatenate([np.arange(size) for size in SIZES.values()])
        channel = np.repeat(np.arange(len(SIZES)), list(SIZES.values()))
        rank = np.lexsort((channel, place)).argsort()
        self.register_buffer("channel", torch.from_numpy(channel))
        self.register_buffer("rank", torch.from_numpy(rank))

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
        recent, voice = self.voices(item, event_type)
        likes = taste(content_vectors, recent, voice)
        weights = neighbour_weights[recent] * voice[:, :, None]
        sequence = Products(told, item_vectors, available, excluded)
        successors = Successors(
            neighbours[recent].flatten(1), weights.flatten(1), available, excluded
        )
        content = Products(likes, content_vectors, available, excluded)
        named = [
            _over(-torch.inf, *sequence.best(SIZES["sequence"])) * known,
            _over(0, *successors.best(SIZES["cooccurrence"])),
            _over(0, *content.best(SIZES["content"])),
            _first(trending, available, excluded, SIZES["trend"]),
            _first(popular, available, excluded, SIZES["popularity"]),
        ]
        candidate, slot = self._once(torch.cat(named, 1))
        of_user = [
            sequence.at(candidate),
            _log("cooccurrence", successors.at(candidate)),
            content.at(candidate),
        ]
        # Logarithms of tables are constants to a runtime that has the tables as such.
        of_all = [_log("trend", item_trend), _log("popularity", item_popularity)]
        return Candidates(candidate, slot, _features(candidate, item, of_user, of_all))

    def _once(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Each item of slots int64 [B, M] once, rising, and its slot of best rank."""
        size = len(self.rank)
        # Keys are distinct, so every runtime sorts them alike.
        slot = (slots * size + self.rank).topk(size, largest=False).indices
        rising = slots.gather(1, slot)
        return rising * first_of_equal(rising), slot


def _over(bound: float, score: Tensor, items: Tensor) -> Tensor:
    """The items whose score is over the bound, 0 in place of others."""
    return torch.where(score > bound, items, 0)


def _first(ids: Tensor, available: Tensor, excluded: Tensor, number: int) -> Tensor:
    """The first of ids int64 [1, P] that can be listed, then zeros: [B, number].

    Who has excluded what is asked of the P, by their places, and not of the whole catalogue.
    """
    ids = functional.pad(ids, (0, 1))  # the place of what is not among them
    place = torch.arange(ids.shape[1], device=ids.device)[None]
    place_of = torch.full_like(available, ids.shape[1] - 1, dtype=torch.int64)
    place_of = place_of.scatter(1, ids, place)
    falling = available[:, ids[0]] - place
    score = falling.expand(len(excluded), -1).scatter(1, place_of[0, excluded], -torch.inf)
    score, at = score.topk(number)
    return _over(-torch.inf, score, ids[0, at])


def _features(
    candidate: Tensor, item: Tensor, of_user: list[Tensor], of_all: list[Tensor]
) -> Tensor:
    """In the order of FEATURES, float32 [B, M, F].

    Args:
        candidate: int64 [B, M].
        item: int64 [B, L], the history.
        of_user: what channels say of each candidate, [B, M] each.
        of_all: what others say of all items to every user, [1, C] each.
    """
    seen = among(candidate, item)
    events = torch.log1p((item != 0).sum(1, keepdim=True).float()).expand_as(seen)
    void = candidate == 0
    parts = [
        torch.stack([said.masked_fill(void, 0) for said in of_user], 2),
        functional.embedding(candidate, torch.cat(of_all).T),
        torch.stack([seen, events], 2),
    ]
    return torch.cat(parts, 2)


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
        slot = found.slot.gather(1, place)
        return scores, found.item.gather(1, place), self.channels.channel[slot]

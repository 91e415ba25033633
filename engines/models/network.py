"""Causal self-attention over a user's last events (SASRec, Kang and McAuley 2018), pre-norm.

    item, event type [B, L] ─▶ x = √D * item vector + type vector [B, L, D]
    gap_s [B, L] ────────────▶ blocks: x += attention(norm(x)); x += feed-forward(norm(x))
    what comes after event l ─▶ temperature * <unit(norm(x_l)), item vector>

Item vectors are unit vectors and come in from outside, so that a catalogue can change under a
network. Attention from event i back to event j adds two learned numbers a head to q·k/√d: one by
how many events, one by how much time lies between them. Both are differences, so an event is told
the same of those before it in training, where every event of a window has a target, as in serving,
where only what comes after the newest one is asked.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.models.interactions import SPEAKING
from engines.models.listing import best_products
from engines.models.plan import Shape
from schemas.profile import HISTORY_SLOTS, TYPE_SLOTS

KNOTS = 16
"""Between learned numbers the bias by time is a straight line over log4(seconds + 1); the last of
them is at 34 years."""


class SequenceNetwork(nn.Module):
    """What a history makes of item vectors."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.types = nn.Embedding(TYPE_SLOTS, shape.width)
        nn.init.zeros_(self.types.weight)
        self.dropout = nn.Dropout(shape.dropout)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.blocks))
        self.norm = nn.LayerNorm(shape.width)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(20.0)))

    def forward(
        self, vectors: Tensor, item: Tensor, event_type: Tensor, gap_s: Tensor, asked: int
    ) -> Tensor:
        """What comes after each of the newest ``asked`` events, [B, asked, D].

        Its product with the matrix of item vectors are logits.

        Args:
            vectors: float32 [B, L, D], those of ``item``.
            item, event_type, gap_s: [B, L], as of `engines.features.features`.
            asked: L or less.
        """
        x = self.dropout(vectors * math.sqrt(self.shape.width)) + self.types(event_type)
        length = item.shape[1]
        rows = length if len(self.blocks) > 1 else asked  # a last block looks back from these only
        place = torch.arange(length, device=item.device)
        between = place[-rows:, None] - place
        # An event looks at itself, and back at all known ones.
        allowed = (between == 0) | ((between > 0) & (item != 0)[:, None, :])
        near = hats((gap_s[:, None, :] - gap_s[:, -rows:, None]).clamp(min=0))
        for block in self.blocks[:-1]:
            x = block(x, near, allowed)
        x = self.blocks[-1](x, near[:, -asked:], allowed[:, -asked:])
        return functional.normalize(self.norm(x), dim=-1) * self.log_temperature.exp()


def hats(seconds: Tensor) -> Tensor:
    """How near each time is to each knot, [..., KNOTS] in 0..1; at most two are not 0."""
    place = torch.log(seconds + 1) / math.log(4)
    knots = torch.arange(KNOTS, device=seconds.device, dtype=seconds.dtype)
    return (1 - (place.clamp(max=KNOTS - 1)[..., None] - knots).abs()).clamp(min=0)


class Block(nn.Module):
    """Attention, then a feed-forward part, each beside a path around it."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, hidden = shape.width, shape.hidden
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(shape)
        self.feed_norm = nn.LayerNorm(width)
        self.feed = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Dropout(shape.dropout), nn.Linear(hidden, width)
        )
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, x: Tensor, near: Tensor, allowed: Tensor) -> Tensor:
        """The newest Q of x [B, L, D], after this block; see `Attention.forward`."""
        heard = self.attention(self.attention_norm(x), near, allowed)
        x = x[:, -heard.shape[1] :] + self.dropout(heard)
        out: Tensor = x + self.dropout(self.feed(self.feed_norm(x)))
        return out


class Attention(nn.Module):
    """Heads that look back, with a bias by place and one by time."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.size = shape.heads, shape.head_width
        self.dropout = shape.dropout
        inner = self.heads * self.size
        self.query = nn.Linear(shape.width, inner)
        self.key_value = nn.Linear(shape.width, 2 * inner)
        self.out = nn.Linear(inner, shape.width)
        self.by_place = nn.Parameter(torch.zeros(HISTORY_SLOTS, shape.heads))
        self.by_time = nn.Parameter(torch.zeros(KNOTS, shape.heads))

    def forward(self, x: Tensor, near: Tensor, allowed: Tensor) -> Tensor:
        """What the newest Q of x [B, L, D] hear, [B, Q, D].

        Args:
            near: [B, Q, L, KNOTS], `hats` of the time from the second event to the first.
            allowed: bool [B, Q, L], whether the first event looks at the second.
        """
        batch, length, _ = x.shape
        asked = near.shape[1]
        if asked == 1:
            return self._newest(x, near, allowed)
        query = self.query(x[:, -asked:]).view(batch, asked, self.heads, self.size).transpose(1, 2)
        split = self.key_value(x).view(batch, length, 2, self.heads, self.size)
        key, value = split.permute(2, 0, 3, 1, 4)
        weight = self._weight(query @ key.transpose(-1, -2), near, allowed)
        heard = (weight @ value).transpose(1, 2).reshape(batch, asked, self.heads * self.size)
        out: Tensor = self.out(heard)
        return out

    def _newest(self, x: Tensor, near: Tensor, allowed: Tensor) -> Tensor:
        """`forward` for the newest event alone, [B, 1, D].

        Keys and values of all L events would serve one query a head. So the query goes through the
        matrix of the keys instead, and what was heard through that of the values: L times fewer
        multiplications. The keys' bias adds the same for every event, which changes nothing.
        """
        batch, inner = len(x), self.heads * self.size
        key, value = self.key_value.weight.view(2, self.heads, self.size, x.shape[2])
        query = self.query(x[:, -1]).view(batch, self.heads, self.size).transpose(0, 1)
        asked = (query @ key).transpose(0, 1)  # [B, H, D]
        weight = self._weight((asked @ x.transpose(1, 2))[:, :, None], near, allowed)[:, :, 0]
        mixed = (weight @ x).transpose(0, 1)  # [H, B, D]
        heard = (mixed @ value.transpose(1, 2)).transpose(0, 1).reshape(batch, 1, inner)
        out: Tensor = self.out(heard + self.key_value.bias[inner:])
        return out

    def _weight(self, likeness: Tensor, near: Tensor, allowed: Tensor) -> Tensor:
        """How much each head listens to each event, [B, H, Q, L], by q·k of the same shape."""
        asked, length = likeness.shape[2:]
        place = torch.arange(length, device=near.device)
        between = (place[-asked:, None] - place).clamp(min=0)
        bias = (self.by_place[between] + near @ self.by_time).permute(0, 3, 1, 2)
        bias = bias.masked_fill(~allowed[:, None], -torch.inf)
        weight = (likeness / math.sqrt(self.size) + bias).softmax(-1)
        return functional.dropout(weight, self.dropout, self.training)


class NewestScorer(nn.Module):
    """What comes after the newest event of a history."""

    speaking: Tensor

    def __init__(self, network: SequenceNetwork) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("speaking", torch.from_numpy(SPEAKING.astype(np.int64)))

    def forward(
        self, item: Tensor, event_type: Tensor, gap_s: Tensor, item_vectors: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A vector [B, D], and whether a history has a known item that an event speaks for [B, 1].

        The vector's products with those of the items are their scores.

        Args:
            item, event_type, gap_s: [B, L], as of `engines.features.features`.
            item_vectors: float32 [C, D], row 0 and rows without an item being 0.
        """
        item = item * self.speaking[event_type]
        vectors = functional.embedding(item, item_vectors)
        told = self.network(vectors, item, event_type, gap_s, 1)[:, 0]
        return told, (item != 0).any(dim=1, keepdim=True)


class SequenceLister(nn.Module):
    """The lists of the ``sasrec`` engine.

    Args:
        network: fitted.
        k: how many items a list has.
        popularity: what the most popular item has before one that nobody knows.
    """

    def __init__(self, network: SequenceNetwork, k: int, popularity: float) -> None:
        super().__init__()
        self.scorer = NewestScorer(network)
        self.k = k
        self.popularity = popularity

    def forward(
        self,
        item: Tensor,
        event_type: Tensor,
        gap_s: Tensor,
        excluded: Tensor,
        item_vectors: Tensor,
        item_popularity: Tensor,
        available: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``scores``, ``items``, ``channels`` [B, k] of features and tables; see ``sasrec``."""
        told, known = self.scorer(item, event_type, gap_s, item_vectors)
        added = self.popularity * item_popularity + available
        scores, items = best_products(told * known, item_vectors, added, excluded, self.k)
        return scores, items, known.long().expand(-1, self.k)

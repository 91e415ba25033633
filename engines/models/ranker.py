"""The small model that ranks candidates, in PyTorch, and its fit.

    x = (features - mean) * scale       [B, M, F]; 0 where nothing differed in the fit
    z = w·x + a hidden layer of x       what every kind of event has in common
    z_h = z + v_h·x                     click, cart, purchase: each by its own head
    score = sum of weight_h * z_h

It is fitted on what users did after the events that all channels were fitted on: the loss of an
event is the softmax over its user's candidates of the head of its type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.models.channels import FEATURES

HEADS = ("click", "cart", "purchase")
CART, PURCHASE = 4, 5  # Avro enum order
HIDDEN = 16
STEPS = 300
DISBELIEF = 3.0
"""Examples that it takes to move a weight by some tenths."""
BEGIN = {"sequence": 1.0, "cooccurrence": 2.0}
"""What w begins with, by raw feature: the sum of the two that did best on the second to last items
of S3-Rec Beauty."""


@dataclass(frozen=True)
class Examples:
    """Candidates of ``n`` users, and how likely each of them is the one that comes next.

    Args:
        feature: float32 [n, M, F].
        valid: bool [n, M], false where a slot is void; each user has one that is not.
        chance: float32 [n, M, H], by head of the sum 1 over candidates, or 0 if it has nothing
            to say.
        temperature: float32 [n], what scores are divided by before their softmax is held against
            the chances: 1, or what a teacher's chances were softened by.
    """

    feature: Tensor
    valid: Tensor
    chance: Tensor
    temperature: Tensor

    @classmethod
    def of_events(cls, feature: Tensor, valid: Tensor, place: Tensor, head: Tensor) -> Examples:
        """What is known for certain: the slot ``place`` and the head of each event, int64 [n]."""
        chance = torch.zeros(*valid.shape, len(HEADS))
        chance[torch.arange(len(place)), place, head] = 1
        return cls(feature, valid, chance, torch.ones(len(place)))

    @classmethod
    def joined(cls, parts: Sequence[Examples]) -> Examples:
        """All of them, one after the other."""
        fields = zip(*(part.fields for part in parts), strict=True)
        return cls(*(torch.cat(field) for field in fields))

    @property
    def fields(self) -> tuple[Tensor, ...]:
        """All of them, in their order."""
        return self.feature, self.valid, self.chance, self.temperature

    def __len__(self) -> int:
        return len(self.valid)

    def __getitem__(self, rows: Tensor) -> Examples:
        return Examples(*(field[rows] for field in self.fields))


def head_of(event_type: Tensor) -> Tensor:
    """Index into HEADS of each event type; whatever is no cart or purchase is a click."""
    return torch.where(event_type == PURCHASE, 2, torch.where(event_type == CART, 1, 0))


class Ranker(nn.Module):
    """Scores candidates.

    Args:
        weights: of each head in the score.
    """

    mean: Tensor
    scale: Tensor
    head_weights: Tensor

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(len(FEATURES)))
        self.register_buffer("scale", torch.ones(len(FEATURES)))
        shares = torch.tensor([weights[head] for head in HEADS])
        self.register_buffer("head_weights", shares / shares.sum())
        self.common = nn.Linear(len(FEATURES), 1, bias=False)
        self.hidden = nn.Linear(len(FEATURES), HIDDEN)
        self.out = nn.Linear(HIDDEN, 1, bias=False)
        self.heads = nn.Linear(len(FEATURES), len(HEADS), bias=False)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.heads.weight)
        begin = [BEGIN.get(feature, 0.0) for feature in FEATURES]
        self.common.weight.data = torch.tensor([begin])

    def forward(self, feature: Tensor) -> Tensor:
        """Scores [B, M] of features float32 [B, M, F]."""
        # As `by_head` has it, but standard and heads go into the weights: once, not 280 times.
        common = self.common.weight + self.head_weights @ self.heads.weight
        z = self._raw(feature, common, common.new_zeros(1))
        hidden = self._raw(feature, self.hidden.weight, self.hidden.bias)
        score: Tensor = (z + self.out(functional.gelu(hidden))).squeeze(2)
        return score

    @property
    def weights(self) -> dict[str, float]:
        """Those of the heads, of the sum 1."""
        return dict(zip(HEADS, self.head_weights.tolist(), strict=True))

    def _raw(self, feature: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """A linear layer of x, by the features that x is made of."""
        weight = weight * self.scale
        return functional.linear(feature, weight, bias - weight @ self.mean)

    def by_head(self, feature: Tensor) -> Tensor:
        """Scores [B, M, H] for each kind of event."""
        x = (feature - self.mean) * self.scale
        z = self.common(x) + self.out(functional.gelu(self.hidden(x)))
        by_head: Tensor = z + self.heads(x)
        return by_head

    def standardise(self, examples: Examples) -> None:
        """Take mean and scale from examples; the order of scores stays what it was."""
        rows = examples.feature[examples.valid]
        self.mean.copy_(rows.mean(0))
        spread = rows.std(0)
        self.scale.copy_(torch.where(spread > 1e-3, 1 / spread, 0.0))
        self.common.weight.data *= spread

    def loss(self, examples: Examples) -> Tensor:
        """The mean over users of -log of the softmax by the chances, summed over heads.

        Times the squared temperature, by which gradients are otherwise too small (Hinton et al.
        2015).
        """
        void = ~examples.valid[:, :, None]
        temperature = examples.temperature[:, None, None]
        scores = self.by_head(examples.feature).masked_fill(void, -torch.inf) / temperature
        away = -scores.log_softmax(1).masked_fill(void, 0)
        loss: Tensor = (away * examples.chance * temperature**2).sum() / len(examples)
        return loss


def fit_ranker(examples: Examples, weights: Mapping[str, float], seed: int) -> Ranker:
    """The likeliest ranker, given that its weights are presumably near those it begins with.

    The fewer examples there are, the nearer it stays.
    """
    torch.manual_seed(seed)
    ranker = Ranker(weights)
    if examples.valid.sum() < 2:  # nothing to choose from, and no spread to standardise by
        return ranker.eval()
    ranker.standardise(examples)
    free = [
        ranker.common.weight,
        ranker.out.weight,
        ranker.heads.weight,
        *ranker.hidden.parameters(),
    ]
    began = [parameter.detach().clone() for parameter in free]
    optimiser = torch.optim.Adam(free, lr=0.01)
    for _ in range(STEPS):
        away = torch.stack([((now - was) ** 2).sum() for now, was in zip(free, began, strict=True)])
        loss = ranker.loss(examples) + DISBELIEF * away.sum() / len(examples)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return ranker.eval()

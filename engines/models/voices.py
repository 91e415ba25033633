"""The last events of a user as co-occurrence and content hear them, in PyTorch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.models.cooccurrence_graph import DECAY, EVENT_WEIGHTS, LAST


class Voices(nn.Module):
    """Weighs the last events: the newest most, and those that speak for no item not at all."""

    event_weights: Tensor
    recency: Tensor

    def __init__(self) -> None:
        super().__init__()
        age = np.arange(LAST - 1, -1, -1, dtype=np.float32)
        self.register_buffer("event_weights", torch.from_numpy(EVENT_WEIGHTS))
        self.register_buffer("recency", torch.from_numpy(DECAY**age))

    def forward(self, item: Tensor, event_type: Tensor) -> tuple[Tensor, Tensor]:
        """Items int64 [B, LAST] and their weights float32 [B, LAST], of features [B, L]."""
        return item[:, -LAST:], self.event_weights[event_type[:, -LAST:]] * self.recency


def taste(vectors: Tensor, recent: Tensor, weight: Tensor) -> Tensor:
    """What the last events have in common, [B, D]: their vectors [C, D], weighed and summed."""
    return (functional.embedding(recent, vectors) * weight[:, :, None]).sum(1)

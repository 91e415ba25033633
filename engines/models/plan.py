"""How a model is to be fitted, whatever it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.catalogue import Catalogue
from engines.models.interactions import Interactions
from engines.models.split import Split

Told = Callable[[int, int, str], None]
"""Told how much is done, of how much at most, and how it stands."""


@dataclass(frozen=True)
class Shape:
    """Size of a sequence network.

    Args:
        width: D, of item vectors and between blocks.
        blocks, heads: how many.
        head_width: of a head's queries, keys and values.
        hidden: width of the feed-forward part.
        dropout: share of the numbers that training sets to 0.
    """

    width: int = 64
    blocks: int = 1
    heads: int = 2
    head_width: int = 32
    hidden: int = 256
    dropout: float = 0.4

    @classmethod
    def of_width(cls, width: int, blocks: int = 1, dropout: float = 0.4) -> Shape:
        """The usual one: two heads that share the width, and a feed-forward part of four."""
        return cls(width, blocks, 2, width // 2, 4 * width, dropout)


@dataclass(frozen=True)
class FitSettings:
    """How a sequence network is fitted.

    Args:
        epochs: at most.
        patience: epochs without a better validation figure after which it stops.
        learning_rate: at its highest, after ``warm_up`` batches; from there it falls by half a
            cosine to a twentieth.
        warm_up: batches.
        events: of a batch, pads among them.
        negatives: items that are drawn a batch.
        ahead: share of the targets that are not the next event but a later one.
    """

    epochs: int = 20
    patience: int = 5
    learning_rate: float = 3e-3
    warm_up: int = 200
    events: int = 512
    negatives: int = 1024
    ahead: float = 0.15

    def learning_rate_at(self, step: int, steps: int) -> float:
        """That of batch ``step`` of ``steps``, from 0."""
        rise = min(1.0, (step + 1) / self.warm_up)
        fall = 0.5 * (1 + math.cos(math.pi * step / steps))
        return self.learning_rate * rise * (0.05 + 0.95 * fall)


@dataclass(frozen=True)
class Plan:
    """How a model is to be fitted.

    Args:
        seed: same seed, log, machine and number of threads: same model.
        shape, fit: of a sequence network.
        validate_from_ms: events from this time on only judge the model; None: the newest event of
            some users does.
        checkpoints: folder for what lets a fit go on after it was interrupted; None: it does not.
        encode: makes vectors of titles, such as `engines.models.text.minilm`; None: their words
            alone count.
        told: hears of progress.
        head_weights: how much each kind of event counts when candidates are ranked.
    """

    seed: int = 7
    shape: Shape = Shape()
    fit: FitSettings = FitSettings()
    validate_from_ms: int | None = None
    checkpoints: Path | None = None
    encode: Callable[[Catalogue], Any] | None = None
    told: Told = lambda done, total, note: None
    head_weights: Mapping[str, float] = field(
        default_factory=lambda: {"click": 1.0, "cart": 1.0, "purchase": 1.0}
    )

    def split(self, seen: Interactions) -> Split:
        """What to fit on and what to judge by."""
        if self.validate_from_ms is None:
            return Split.by_last(seen, self.seed)
        return Split.by_time(seen, self.validate_from_ms)

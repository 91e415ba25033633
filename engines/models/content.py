"""Content: items like those that a user saw last, by attributes alone. See ``content_vectors``.

score of item j:  sum over the last events (i, type) of decay^age * u(type) * <c_i, c_j>
                  + a little popularity, which is all there is without a known event
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engines.catalogue import Catalogue
from engines.draft import Draft
from engines.manifest import Training
from engines.models.content_vectors import content_vectors
from engines.models.exporting import export
from engines.models.initial import initial_vectors
from engines.models.interactions import Interactions
from engines.models.listing import best_products
from engines.models.plan import Plan
from engines.models.sasrec import BATCH, POPULARITY, K
from engines.models.tables import item_tables, with_spare
from engines.models.top_k import capacity
from engines.models.voices import Voices, taste
from schemas.errors import EngineError
from schemas.profile import EXCLUDED_SLOTS, HISTORY_SLOTS

KIND = "content"
CHANNELS = ("popularity", "content")


class ContentLister(nn.Module):
    """The lists of the engine.

    Args:
        k: how many items a list has.
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        self.voices = Voices()
        self.k = k

    def forward(
        self,
        item: Tensor,
        event_type: Tensor,
        excluded: Tensor,
        item_vectors: Tensor,
        item_popularity: Tensor,
        available: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``scores``, ``items``, ``channels`` [B, k] of features and tables."""
        likes = taste(item_vectors, *self.voices(item, event_type))
        added = POPULARITY * item_popularity + available
        scores, items = best_products(likes, item_vectors, added, excluded, self.k)
        spoken = (likes != 0).any(dim=1, keepdim=True)
        return scores, items, spoken.long().expand(-1, self.k)


@dataclass(frozen=True, eq=False)
class ContentModel:
    """A fitted model.

    Args:
        catalogue: the I items, most popular first.
        vectors: float32 [I+1, D].
        popularity: float64 [I+1].
        training: range and size of the log.
        parameters: for the manifest.
    """

    catalogue: Catalogue
    vectors: NDArray[np.float32]
    popularity: NDArray[np.float64]
    training: Training
    parameters: dict[str, int | float | str]

    def draft(
        self, *, batch: int = BATCH, k: int = K, excluded_slots: int = EXCLUDED_SLOTS
    ) -> Draft:
        """The model as an engine that ranks ``batch`` users at a time and lists ``k`` items."""
        widths = {"item": HISTORY_SLOTS, "event_type": HISTORY_SLOTS, "excluded": excluded_slots}
        rows = capacity(max(with_spare(len(self.vectors)), k), k)
        tables = item_tables(self.vectors, self.popularity, rows)
        return Draft(
            model=export(KIND, ContentLister(k).eval(), widths, tables, batch=batch, k=k),
            catalogue=self.catalogue,
            batch=batch,
            k=k,
            input_widths=widths,
            channels=CHANNELS,
            tables=tables,
            kind=KIND,
            training=self.training,
            parameters=self.parameters,
        )


def fit(seen: Interactions, plan: Plan) -> ContentModel:
    """Fit on a log whose items have attributes.

    Raises:
        EngineError: none has.
    """
    torch.manual_seed(plan.seed)
    wanted = initial_vectors(seen, plan.shape.width)
    vectors = content_vectors(seen, wanted, plan.encode).numpy()
    if not vectors.any():
        raise EngineError(
            "there is nothing to tell items by",
            expected="a title, category, provider, price or vector of some items",
            received="a log without any",
            fix="give them with --items, or train another model",
        )
    parameters: dict[str, int | float | str] = {"width": plan.shape.width, "seed": plan.seed}
    return ContentModel(seen.catalogue, vectors, seen.popularity, seen.training, parameters)

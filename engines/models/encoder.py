"""An encoder of the size of BERT-base over 128 tokens, whose weights are noise: for the bench.

    item [B, L] ─▶ x = vector of the item + vector of the place, normalised [B, L, D]
                ─▶ layers: x = norm(x + attention(x)); x = norm(x + feed-forward(x))
                ─▶ mean over the L places ─▶ products with all item vectors ─▶ k best

12 layers, width 768, 12 heads, feed-forward of 3,072, GELU, post-norm: 85 million weights (Devlin
et al. 2019), 22 GFLOP a user. The tokens are items. There is no mask: a pad is a token like others,
so that every user costs the same.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from engines.bundle import Bundle
from engines.draft import Draft
from engines.models.exporting import export
from engines.models.interactions import Interactions
from engines.models.listing import best_products
from engines.models.sasrec import K
from engines.models.tables import item_tables, with_spare
from engines.models.top_k import capacity
from schemas.profile import EXCLUDED_SLOTS

KIND = "encoder"
CHANNELS = ("encoder",)


@dataclass(frozen=True)
class EncoderShape:
    """Size of an encoder, and the seed of its weights.

    Args:
        length: L, tokens.
        width: D, of tokens and item vectors.
        layers, heads: how many.
        hidden: width of the feed-forward part.
        seed: of PyTorch's generator.
    """

    length: int = 128
    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3_072
    seed: int = 7


class EncoderLister(nn.Module):
    """The lists of the engine; equal shapes have equal weights.

    Args:
        shape: of the encoder.
        k: how many items a list has.
    """

    def __init__(self, shape: EncoderShape, k: int) -> None:
        super().__init__()
        torch.manual_seed(shape.seed)
        self.places = nn.Parameter(torch.randn(shape.length, shape.width))
        self.norm = nn.LayerNorm(shape.width)
        self.layers = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    shape.width, shape.heads, shape.hidden, activation="gelu", batch_first=True
                )
                for _ in range(shape.layers)
            )
        )
        self.k = k

    def forward(
        self, item: Tensor, excluded: Tensor, item_vectors: Tensor, available: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``scores``, ``items``, ``channels`` [B, k] of features and tables."""
        x = self.norm(functional.embedding(item, item_vectors) + self.places)
        told = self.layers(x).mean(1)
        scores, items = best_products(told, item_vectors, available, excluded, self.k)
        return scores, items, items * 0  # the one channel; a constant would be no node


def draft(seen: Interactions, shape: EncoderShape, *, batch: int, k: int = K) -> Draft:
    """An encoder as an engine for the items of a log."""
    known = len(seen.catalogue) + 1
    widths = {"item": shape.length, "excluded": EXCLUDED_SLOTS}
    rows = capacity(max(with_spare(known), k), k)
    tables = item_tables(_vectors(known, shape), seen.popularity, rows)
    del tables["item_popularity"]
    return Draft(
        model=export(KIND, EncoderLister(shape, k).eval(), widths, tables, batch=batch, k=k),
        catalogue=seen.catalogue,
        batch=batch,
        k=k,
        input_widths=widths,
        channels=CHANNELS,
        tables=tables,
        kind=KIND,
        training=seen.training,
        parameters=asdict(shape),
    )


def of_bundle(bundle: Bundle) -> EncoderLister:
    """The module of an engine of this kind, its weights made anew from their seed."""
    values = {field.name: bundle.manifest.parameters[field.name] for field in fields(EncoderShape)}
    return EncoderLister(EncoderShape(**values), bundle.manifest.k)  # type: ignore[arg-type]


def _vectors(rows: int, shape: EncoderShape) -> NDArray[np.float32]:
    """Noise, 0 for the unknown item."""
    random = np.random.default_rng(shape.seed)
    vectors = random.standard_normal((rows, shape.width), np.float32)
    vectors[0] = 0
    return vectors

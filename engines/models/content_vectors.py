"""What the attributes of items say of their likeness: for items that nobody has met yet.

    title, category, provider, price ─▶ words by rarity [I, V] ─▶ their singular vectors [I, R] ─┐
    vectors as given, titles by a text encoder [I, V] ──────────────────────────────────────────┤
                                                   vectors as items that were met have [I, D] ◀─┘

The last step is a ridge regression: two attributes are as like as the items are that have them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engines.catalogue import Catalogue
from engines.models.interactions import Interactions
from engines.models.words import words_of

RANK = 256
RIDGE = 1.0

Encode = Callable[[Catalogue], Tensor]
"""Vectors float32 [I+1, V] of the items' titles; 0 where there is none."""


def content_vectors(seen: Interactions, wanted: Tensor, encode: Encode | None) -> Tensor:
    """Unit vectors float32 [I+1, D] by attributes alone; 0 for an item without any.

    Args:
        seen: the items, and how often each was met.
        wanted: float32 [I+1, D], what items that were met are to come near.
        encode: of titles, see `engines.models.text`; None leaves their order of words aside.
    """
    parts = [*_word_factors(seen.catalogue), torch.from_numpy(seen.vectors)]
    if encode is not None:
        parts.append(encode(seen.catalogue))
    factors = torch.cat([functional.normalize(part, dim=1) for part in parts], 1)
    # Often met items weigh more, but not as much more as they were met.
    weight = torch.from_numpy(seen.popularity).float().sqrt()[:, None]
    gram = factors.T @ (weight * factors) + RIDGE * torch.eye(factors.shape[1])
    ridge = torch.linalg.solve(gram, factors.T @ (weight * wanted))
    return functional.normalize(factors @ ridge, dim=-1)


def _word_factors(catalogue: Catalogue) -> list[Tensor]:
    """The largest singular vectors of the items' words, float32 [I+1, R]; none without words."""
    words = _words(catalogue)
    if words is None:
        return []
    left, values, _ = torch.svd_lowrank(words, q=min(RANK, *words.shape), niter=4)
    spoken = words.sum(1).to_dense() > 0  # what has no words is 0 but for rounding
    return [left * values * spoken[:, None]]


def _words(catalogue: Catalogue) -> Tensor | None:
    """TF-IDF of each item's words, sparse float32 [I+1, V], unit rows; None if there are none."""
    numbers: dict[str, int] = {}
    rows, columns = [], []
    for row, item in enumerate(catalogue.table.to_pylist(), start=1):
        for word in sorted(set(words_of(item))):
            rows.append(row)
            columns.append(numbers.setdefault(word, len(numbers)))
    if not rows:
        return None
    column = np.array(columns)
    count = np.bincount(column)
    weight = np.where(count > 1, np.log(len(catalogue) / count), 0)[column]
    length = np.sqrt(np.bincount(rows, weight**2, len(catalogue) + 1))[rows]
    values = (weight / np.maximum(length, 1e-9)).astype(np.float32)
    return torch.sparse_coo_tensor(
        torch.from_numpy(np.stack([np.array(rows), column])),
        torch.from_numpy(values),
        (len(catalogue) + 1, len(numbers)),
        check_invariants=False,
    ).coalesce()

"""What the attributes of items say of their likeness: for items that nobody has met yet.

    title, category, provider, price ─▶ words, weighted by rarity [I, V]
                                    ─▶ their largest singular vectors [I, R]
                                    ─▶ the vectors that co-occurrence gives such items [I, D]

The last step is a ridge regression on the items that have been met: what two attributes have in
common counts by how far items that have them are met by the same users.
"""

from __future__ import annotations

import re

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engines.catalogue import Catalogue
from engines.models.initial import initial_vectors
from engines.models.interactions import Interactions

RANK = 256
RIDGE = 1.0
WORD = re.compile(r"\w+")


def content_vectors(seen: Interactions, width: int) -> NDArray[np.float32]:
    """Unit vectors float32 [I+1, width] by attributes alone; 0 for an item without any.

    Args:
        seen: what the regression is fitted on; equal states of PyTorch's generator give equal
            vectors.
        width: D.
    """
    words = _words(seen.catalogue)
    if words is None:
        return np.zeros((len(seen.catalogue) + 1, width), np.float32)
    rank = min(RANK, *words.shape)
    left, values, _ = torch.svd_lowrank(words, q=rank, niter=4)
    factors = left * values
    met = torch.from_numpy(seen.popularity)
    wanted = initial_vectors(seen, width) * (met > 0)[:, None]
    weighted = factors * met.sqrt()[:, None].float()
    gram = weighted.T @ weighted + RIDGE * torch.eye(rank)
    ridge = torch.linalg.solve(gram, weighted.T @ (wanted * met.sqrt()[:, None].float()))
    spoken = words.sum(1).to_dense() > 0  # what has no words is 0 but for rounding
    vectors: NDArray[np.float32] = (
        functional.normalize(factors @ ridge, dim=-1) * spoken[:, None]
    ).numpy()
    return vectors


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


def words_of(item: dict[str, object]) -> list[str]:
    """The words of an item: of its title, its category and provider, and how much it costs.

    >>> words_of({"title": "Oak Lamp", "category": "light", "price": 30.0, "provider": None})
    ['oak', 'lamp', 'category=light', 'price=5']
    """
    words = WORD.findall(str(item["title"] or "").lower())
    words += [f"{name}={item[name]}" for name in ("category", "provider") if item[name]]
    price = item["price"]
    if isinstance(price, float) and price > 0:
        words.append(f"price={round(np.log2(price))}")
    return words

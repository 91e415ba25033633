"""Item vectors to begin a fit with: what co-occurs already lies together.

    p(i, j) = max(0, log( c(i, j) c(., .) / (c(i, .) c(., j)^.75 z) ))      z: makes the last a mass
    vectors = the largest singular vectors of p, by the roots of their singular values

the positive pointwise mutual information of co-occurrence, with smoothed contexts (Levy, Goldberg
and Dagan 2015), of which word vectors are a factorisation. A network that begins there is after 5
epochs of S3-Rec Beauty where one that begins with chance is after 20.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engines.models.cooccurrence import pair_sums
from engines.models.interactions import Interactions

SMOOTHING = 0.75
NOISE = 1e-3
"""Of every number: it is all that there is of an item without neighbours."""


def initial_vectors(seen: Interactions, width: int) -> Tensor:
    """Unit vectors float32 [I+1, D]; equal states of PyTorch's generator give equal ones."""
    size = len(seen.catalogue) + 1
    row, column, sums = pair_sums(seen.user, seen.item, size - 1)
    vectors = torch.randn(size, width) * NOISE
    if len(sums):
        counts = torch.sparse_coo_tensor(
            torch.from_numpy(np.stack([row, column])),
            torch.from_numpy(sums),
            (size, size),
            check_invariants=False,
        )
        rank = min(width, size)
        information = _information((counts + counts.T).coalesce())
        left, values, _ = torch.svd_lowrank(information, q=min(rank + 16, size), niter=4)
        factors = left[:, :rank] * values[:rank].sqrt()
        vectors[:, :rank] += functional.normalize(factors, dim=-1)
    return functional.normalize(vectors, dim=-1)


def _information(counts: Tensor) -> Tensor:
    """p, sparse float32 [I+1, I+1], of c, sparse and symmetric."""
    i, j = counts.indices()
    mass = counts.sum(1).to_dense()
    smooth = mass**SMOOTHING
    smooth *= mass.sum() / smooth.sum()
    expected = mass[i] * smooth[j] / mass.sum()
    values = (counts.values() / expected).log().clamp(min=0).float()
    return torch.sparse_coo_tensor(counts.indices(), values, counts.shape, check_invariants=False)

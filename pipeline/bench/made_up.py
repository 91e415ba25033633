"""Engines of any size without a log: their vectors and weights are noise, and as quick as others.

Their weights have the shapes that `headrace train` gives them with its default settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engines.draft import Draft
from engines.models import blend, cooccurrence, sasrec
from engines.models.cooccurrence import NEIGHBOURS, CooccurrenceModel
from engines.models.interactions import Interactions
from engines.models.plan import Shape

if TYPE_CHECKING:
    from engines.models.network import SequenceNetwork

CLICK = 3
SEED = 7
KINDS = (cooccurrence.KIND, sasrec.KIND, blend.KIND)


def made_up(kind: str, items: int, batch: int) -> Draft:
    """An engine of a model in KINDS that ranks ``batch`` users at a time."""
    seen = Interactions.read(("user", str(item), CLICK, item) for item in range(items))
    if kind == cooccurrence.KIND:
        return _cooccurrence(seen).draft(batch=batch)
    if kind == sasrec.KIND:
        return _sasrec(seen).draft(batch=batch)
    return _blend(seen).draft(batch=batch)


def _cooccurrence(seen: Interactions) -> CooccurrenceModel:
    random = np.random.default_rng(SEED)
    shape = len(seen.catalogue) + 1, NEIGHBOURS
    neighbours = random.integers(1, shape[0], shape).astype(np.int32)
    weights = -np.sort(-random.random(shape, np.float32), axis=1)
    neighbours[0], weights[0] = 0, 0
    return CooccurrenceModel(seen.catalogue, neighbours, weights, seen.popularity, seen.training)


def _network() -> SequenceNetwork:
    import torch

    from engines.models.network import SequenceNetwork

    torch.manual_seed(SEED)
    return SequenceNetwork(Shape()).eval()


def _sasrec(seen: Interactions) -> sasrec.SasrecModel:
    network = _network()
    vectors = np.random.default_rng(SEED).normal(size=(len(seen.catalogue) + 1, Shape().width))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    vectors[0] = 0
    return sasrec.SasrecModel(
        seen.catalogue, network, vectors, seen.popularity, seen.training, {}, {}
    )


def _blend(seen: Interactions) -> blend.BlendModel:
    from engines.models.channels import Channels
    from engines.models.ranker import HEADS, Ranker

    like = _sasrec(seen)
    content = np.roll(like.vectors, 1, axis=1)
    return blend.BlendModel(
        seen.catalogue,
        Channels(like.network).eval(),
        Ranker(dict.fromkeys(HEADS, 1.0)).eval(),
        blend.blend_tables(seen, like.vectors, _cooccurrence(seen), content),
        seen.training,
        {},
        {},
    )

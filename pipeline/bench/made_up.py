"""Engines of any size and their users without a log: noise, and as quick as others.

Weights have the shapes that `headrace train` gives them with its default settings; those of
"encoder" are of the size of BERT-base, see `engines.models.encoder`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engines.backends.base import Tensors
from engines.bundle import Bundle
from engines.catalogue import Catalogue
from engines.draft import Draft
from engines.latency import DIFFERENT
from engines.manifest import Training
from engines.models import blend, cooccurrence, sasrec
from engines.models.cooccurrence import NEIGHBOURS, CooccurrenceModel
from engines.models.interactions import Interactions
from engines.models.plan import Shape
from schemas.profile import HISTORY_SLOTS

if TYPE_CHECKING:
    from engines.models.network import SequenceNetwork

CLICK = 3
SEED = 7
ENCODER = "encoder"
KINDS = (cooccurrence.KIND, sasrec.KIND, blend.KIND, ENCODER)
MINUTE_S = 60.0


def made_up(kind: str, items: int, batch: int) -> Draft:
    """An engine of a model in KINDS that ranks ``batch`` users at a time."""
    seen = _seen(items)
    if kind == cooccurrence.KIND:
        return _cooccurrence(seen).draft(batch=batch)
    if kind == sasrec.KIND:
        return _sasrec(seen).draft(batch=batch)
    if kind == ENCODER:
        from engines.models import encoder

        return encoder.draft(seen, encoder.EncoderShape(seed=SEED), batch=batch)
    return _blend(seen).draft(batch=batch)


def batches(bundle: Bundle, users_at_once: int) -> list[Tensors]:
    """Features of DIFFERENT batches of made-up users."""
    everybody = users(bundle, DIFFERENT * users_at_once)
    starts = range(0, DIFFERENT * users_at_once, users_at_once)
    return [
        {name: values[start : start + users_at_once] for name, values in everybody.items()}
        for start in starts
    ]


def users(bundle: Bundle, number: int) -> Tensors:
    """Features of made-up users: clicks on any items of an engine, a minute apart.

    Each has 1 to 50, of which the engine sees the newest; or as many as it sees, if those are more.

    Returns:
        as of `engines.features.features`, nothing being excluded.
    """
    random = np.random.default_rng(SEED)
    slots = bundle.manifest.history_slots
    lengths = random.integers(1, max(slots, HISTORY_SLOTS) + 1, number)
    age = np.arange(slots)[::-1]
    filled = age < lengths[:, None]
    return {
        "item": random.integers(1, len(bundle.catalogue) + 1, filled.shape) * filled,
        "event_type": np.int64(CLICK) * filled,
        "gap_s": (MINUTE_S * age * filled).astype(np.float32),
        "excluded": np.zeros((number, bundle.manifest.excluded_slots), np.int64),
    }


def _seen(items: int) -> Interactions:
    """One user's clicks on as many items, a millisecond apart."""
    number = np.arange(items)
    training = Training(
        log="made up", events=items, users=1, first_event_time=0, last_event_time=items - 1
    )
    return Interactions(
        user=np.zeros(items, np.int64),
        item=number + 1,
        event_type=np.full(items, CLICK, np.uint8),
        time_ms=number,
        catalogue=Catalogue.build(list(map(str, range(items))), np.ones(items)),
        vectors=np.zeros((items + 1, 0), np.float32),
        training=training,
    )


def _cooccurrence(seen: Interactions) -> CooccurrenceModel:
    random = np.random.default_rng(SEED)
    shape = len(seen.catalogue) + 1, NEIGHBOURS
    neighbours = random.integers(1, shape[0], shape, np.int32)
    weights = random.random(shape, np.float32)
    weights.sort(axis=1)  # a view turns it round: each row falls
    weights = weights[:, ::-1]
    neighbours[0], weights[0] = 0, 0
    return CooccurrenceModel(seen.catalogue, neighbours, weights, seen.popularity, seen.training)


def _network() -> SequenceNetwork:
    import torch

    from engines.models.network import SequenceNetwork

    torch.manual_seed(SEED)
    return SequenceNetwork(Shape()).eval()


def _sasrec(seen: Interactions) -> sasrec.SasrecModel:
    network = _network()
    shape = len(seen.catalogue) + 1, Shape().width
    vectors = np.random.default_rng(SEED).standard_normal(shape, np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
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

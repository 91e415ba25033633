"""The lists of ``blend`` in plain NumPy, user by user: what the engine must list."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from engines.models.blend import BlendModel
from engines.models.channels import CHANNELS, FAINT, FEATURES, SIZES
from engines.models.cooccurrence_graph import DECAY, EVENT_WEIGHTS, LAST


class Named(NamedTuple):
    """What one user's channels name.

    Args:
        items: int64 [n], rising.
        channels: int64 [n], of each the one that put it highest.
        features: float32 [n, F].
        scores: float32 [n], the ranker's.
    """

    items: NDArray[np.int64]
    channels: NDArray[np.int64]
    features: NDArray[np.float32]
    scores: NDArray[np.float32]


def named(model: BlendModel, features: dict[str, NDArray[Any]]) -> list[Named]:
    """What the channels name for each user of the features."""
    tensors = {name: torch.from_numpy(array) for name, array in features.items()}
    of_item = torch.from_numpy(model.tables["item_vectors"])
    with torch.no_grad():
        told, known = model.channels.scorer(
            tensors["item"], tensors["event_type"], tensors["gap_s"], of_item
        )
    return [
        _of_user(model, {name: array[row] for name, array in features.items()}, *sequence)
        for row, sequence in enumerate(zip(told.numpy(), known.numpy()[:, 0], strict=True))
    ]


def _of_user(
    model: BlendModel, user: dict[str, NDArray[Any]], told: NDArray[np.float32], known: bool
) -> Named:
    scores = _scores(model.tables, user, told)
    orders = _orders(model.tables, user["excluded"], scores, known)
    channel_of: dict[int, int] = {}
    for rank in range(max(SIZES.values())):  # the first of every channel, the second, ...
        for channel, name in enumerate(CHANNELS):
            if rank < min(SIZES[name], len(orders[name])):
                channel_of.setdefault(int(orders[name][rank]), channel)
    items = np.array(sorted(channel_of), np.int64)
    said = {name: scores[name][items] for name in CHANNELS}
    said |= {name: np.log(said[name] + faint) for name, faint in FAINT.items()}
    said["seen"] = np.isin(items, user["item"])
    said["events"] = np.full(len(items), np.log1p((user["item"] != 0).sum()))
    found = np.stack([said[name] for name in FEATURES], 1).astype(np.float32)
    with torch.no_grad():
        by_head = model.ranker.by_head(torch.from_numpy(found)[None])
        ranks = (by_head @ model.ranker.head_weights)[0].numpy()
    return Named(items, np.array([channel_of[item] for item in items.tolist()]), found, ranks)


def _scores(
    tables: dict[str, NDArray[Any]], user: dict[str, NDArray[Any]], told: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """What each channel says of all items, [C]."""
    recent, kinds = user["item"][-LAST:], user["event_type"][-LAST:]
    voice = EVENT_WEIGHTS[kinds] * DECAY ** np.arange(LAST - 1, -1, -1, dtype=np.float32)
    together = np.zeros(len(tables["item_vectors"]), np.float32)
    for item, weight in zip(recent, voice, strict=True):
        np.add.at(together, tables["neighbours"][item], tables["neighbour_weights"][item] * weight)
    return {
        "sequence": tables["item_vectors"] @ told,
        "cooccurrence": together,
        "content": tables["content_vectors"] @ (tables["content_vectors"][recent].T @ voice),
        "trend": tables["item_trend"][0],
        "popularity": tables["item_popularity"][0],
    }


def _orders(
    tables: dict[str, NDArray[Any]],
    excluded: NDArray[np.int64],
    scores: dict[str, NDArray[np.float32]],
    known: bool,
) -> dict[str, NDArray[np.int64]]:
    """The items that each channel may name, best first; a tie goes to the lower index."""
    listed = tables["available"][0] == 0
    listed[excluded] = False
    speaks = {name: scores[name] > 0 for name in CHANNELS} | {"sequence": np.array([known])}
    orders = {}
    for name, score in scores.items():
        order = np.argsort(-score, kind="stable")
        orders[name] = order[(listed & speaks[name])[order]]
    return orders

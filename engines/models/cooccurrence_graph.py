"""The scoring half of the co-occurrence model, as an ONNX graph of fixed shapes.

    item, event_type [B, L] ─▶ neighbours, weights [B, L, N] ─▶ added to the prior [B, W]
    excluded [B, X] ──────────────────────────────────────────▶ -inf ─▶ the k best

W is I + 1, or k where there are fewer items than k, and pads (see ``top_k``). The sums run over the
whole catalogue: at 12,000 items that is faster than to sort out the few candidates, and exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.models.exporting import assemble
from engines.models.interactions import SPEAKING
from engines.models.top_k import Constants, padded, top_k

CHANNELS = ("popularity", "cooccurrence")
LAST = 8
DECAY = 0.6

EVENT_WEIGHTS = SPEAKING.astype(np.float32)
"""u(type) by Avro enum order: what speaks for an item counts 1, all else nothing."""


def input_widths(excluded_slots: int) -> dict[str, int]:
    """The second dimension of every input."""
    return {"item": LAST, "event_type": LAST, "excluded": excluded_slots}


def export(
    neighbours: NDArray[np.int32],
    weights: NDArray[np.float32],
    popularity: NDArray[np.float64],
    *,
    batch: int,
    k: int,
    excluded_slots: int,
) -> bytes:
    """The serialised model; equal arguments give equal bytes.

    Args:
        neighbours, weights: [I+1, N] as in ``CooccurrenceModel``.
        popularity: [I+1], 0 at 0.
    """
    width = max(len(popularity), k)
    prior = prior_of(weights, popularity, padded(width, k))
    choice, choice_constants = top_k("score", batch, width, k)
    return assemble(
        "cooccurrence",
        [*_scores(), *choice, *_channels()],
        choice_constants | _constants(neighbours, weights, prior, batch, excluded_slots),
        input_widths(excluded_slots),
        batch=batch,
        k=k,
    )


def _constants(
    neighbours: NDArray[np.int32],
    weights: NDArray[np.float32],
    prior: NDArray[np.float32],
    batch: int,
    excluded_slots: int,
) -> Constants:
    """What `_scores` reads beside the inputs."""
    return event_constants(batch, LAST * neighbours.shape[1]) | {
        "neighbours": neighbours,
        "neighbour_weights": weights,
        "prior_row": prior,
        "whole": np.array([batch, prior.shape[1]]),
        "no_score": np.full((batch, excluded_slots), -np.inf, np.float32),
    }


def event_constants(batch: int, slots: int) -> Constants:
    """What `event_nodes` reads beside inputs and neighbours; ``slots`` is L * N."""
    return {
        "event_weights": EVENT_WEIGHTS,
        "recency": DECAY ** np.arange(LAST - 1, -1, -1, dtype=np.float32)[None],
        "flat": np.array([batch, slots]),
        "axis_2": np.array([2]),
    }


def event_nodes() -> list[Any]:
    """``flat_neighbour`` [B, L * N] of the last events and ``flat_part``, what each adds."""
    from onnx.helper import make_node as node

    return [
        node("Gather", ["event_weights", "event_type"], ["type_weight"]),
        node("Mul", ["type_weight", "recency"], ["event_weight"]),
        node("Unsqueeze", ["event_weight", "axis_2"], ["event_weight_3d"]),
        node("Gather", ["neighbour_weights", "item"], ["weight"]),
        node("Mul", ["weight", "event_weight_3d"], ["part"]),
        node("Reshape", ["part", "flat"], ["flat_part"]),
        node("Gather", ["neighbours", "item"], ["neighbour"]),
        node("Reshape", ["neighbour", "flat"], ["flat_neighbour"]),
    ]


def _scores() -> list[Any]:
    from onnx.helper import make_node as node

    return [
        *event_nodes(),
        node("Expand", ["prior_row", "whole"], ["prior"]),  # folded when a session is opened
        node(
            "ScatterElements",
            ["prior", "flat_neighbour", "flat_part"],
            ["sum"],
            axis=1,
            reduction="add",
        ),
        node("ScatterElements", ["sum", "excluded", "no_score"], ["score"], axis=1),
    ]


def _channels() -> list[Any]:
    """Co-occurrence spoke for an item whose score is above its prior."""
    from onnx import TensorProto
    from onnx.helper import make_node as node

    return [
        node("GatherElements", ["prior", "items"], ["base"], axis=1),
        node("Greater", ["scores", "base"], ["raised"]),
        node("Cast", ["raised"], ["channels"], to=TensorProto.INT64),
    ]


def prior_of(
    weights: NDArray[np.float32], popularity: NDArray[np.float64], width: int
) -> NDArray[np.float32]:
    """Popularity [1, width], at most half of the least sum that an event gives; -inf is no item."""
    least = float(weights[weights > 0].min(initial=1)) * DECAY ** (LAST - 1)
    prior = np.full((1, width), -np.inf, np.float32)
    prior[0, 1 : len(popularity)] = popularity[1:] / popularity.max() * (least / 2)
    return prior

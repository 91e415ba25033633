"""The scoring half of the co-occurrence model for large catalogues: by what could be listed alone.

    excluded [B, X], -inf each ────────────────┐
    the k + X most popular, 0 each ────────────┼▶ [B, M] by item ─▶ each item once: prior + sum
    neighbours [B, L, N] and what they add ────┘                    ─▶ the k best

No other item can be listed: k of those that are popular and not excluded come before it. An item's
sum has the order of `cooccurrence_graph`'s, so the lists are the same to the last bit; a row has
M = 2 X + k + L N places, whatever the catalogue, where that one's has as many as there are items.
What is about the items are tables: 10 M items have 4 GB of them, and a protobuf ends at 2 GiB.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.models.cooccurrence_graph import (
    LAST,
    event_constants,
    event_nodes,
    input_widths,
    prior_of,
)
from engines.models.exporting import assemble

Tables = dict[str, NDArray[Any]]


def tables_of(
    neighbours: NDArray[np.int32], weights: NDArray[np.float32], popularity: NDArray[np.float64]
) -> Tables:
    """What the model reads about the items.

    Args:
        neighbours, weights, popularity: as of ``CooccurrenceModel``.

    Returns:
        ``neighbours`` int32 and ``neighbour_weights`` float32 [I+1, N], ``prior`` float32 [I+1].
    """
    prior = prior_of(weights, popularity, len(popularity))[0]
    return {"neighbours": neighbours, "neighbour_weights": weights, "prior": prior}


def export(tables: Tables, *, batch: int, k: int, excluded_slots: int) -> bytes:
    """The serialised model; equal arguments give equal bytes.

    Args:
        tables: of `tables_of`.
    """
    popular = most_popular(tables["prior"], k + excluded_slots)
    slots = LAST * tables["neighbours"].shape[1]
    places = excluded_slots + len(popular) + slots
    constants = event_constants(batch, slots) | {
        "popular": np.tile(popular, (batch, 1)),
        "no_score": np.full((batch, excluded_slots), -np.inf, np.float32),
        "no_part": np.zeros((batch, len(popular)), np.float32),
        "places": np.array([places]),
        "k": np.array([k]),
        "zero": np.array([0]),
        "one": np.array([1]),
        "last": np.array([-1]),
        "end": np.array([places]),
        "first_place": np.zeros((batch, 1), np.int64),
        "no_item": np.zeros((batch, places), np.int64),
    }
    return assemble(
        "cooccurrence",
        [*event_nodes(), *_together(), *_summed(), *_listed()],
        constants,
        input_widths(excluded_slots),
        batch=batch,
        k=k,
        tables=tables,
    )


def most_popular(prior: NDArray[np.float32], number: int) -> NDArray[np.int64]:
    """The items of highest prior, int64 [number], equal ones by index; then zeros."""
    best = np.argsort(-prior, kind="stable")[:number]
    return np.pad(best, (0, number - len(best)))


def _together() -> list[Any]:
    """All that says something of an item, ``item_of`` and ``part_of`` [B, M], by rising item.

    Of one item: that it is excluded, then what neighbours add, from the oldest event on.
    """
    from onnx import TensorProto
    from onnx.helper import make_node as node

    return [
        node("Cast", ["flat_neighbour"], ["neighbour_index"], to=TensorProto.INT64),
        node("Concat", ["excluded", "popular", "neighbour_index"], ["said_of"], axis=1),
        node("Concat", ["no_score", "no_part", "flat_part"], ["said"], axis=1),
        node("TopK", ["said_of", "places"], ["item_of", "order"], axis=1, largest=0),
        node("GatherElements", ["said", "order"], ["part_of"], axis=1),
    ]


def _summed() -> list[Any]:
    """Each item once, by rising index: ``candidates`` and ``score`` [B, M], then the unknown item.

    item_of     3    3    7    9    9    9
    run         0    0    1    2    2    2
    candidates  3    7    9    0    0    0
    """
    from onnx import TensorProto
    from onnx.helper import make_node as node

    return [
        node("Slice", ["item_of", "zero", "last", "one"], ["before"]),
        node("Slice", ["item_of", "one", "end", "one"], ["after"]),
        node("Equal", ["before", "after"], ["same"]),
        node("Not", ["same"], ["other"]),
        node("Cast", ["other"], ["step"], to=TensorProto.INT64),
        node("Concat", ["first_place", "step"], ["steps"], axis=1),
        node("CumSum", ["steps", "one"], ["run"]),
        node("ScatterElements", ["no_item", "run", "item_of"], ["candidates"], axis=1),
        node("Gather", ["prior", "candidates"], ["candidate_prior"]),
        node(
            "ScatterElements",
            ["candidate_prior", "run", "part_of"],
            ["score"],
            axis=1,
            reduction="add",
        ),
    ]


def _listed() -> list[Any]:
    """The k best; co-occurrence spoke for an item whose score is above its prior."""
    from onnx import TensorProto
    from onnx.helper import make_node as node

    return [
        node("TopK", ["score", "k"], ["scores", "place"], axis=1),
        node("GatherElements", ["candidates", "place"], ["items"], axis=1),
        node("Gather", ["prior", "items"], ["base"]),
        node("Greater", ["scores", "base"], ["raised"]),
        node("Cast", ["raised"], ["channels"], to=TensorProto.INT64),
    ]

"""float16: half the bytes. float32 stays wherever float16 would change a list.

    seconds, log ─ float32 ─┐                               ┌─ float32 ─ scores, masks, top k
    vectors ─ float16 ──────┴─ network ─ float16 ─ product ─┘
              softmax, normalisation and sums of squares: float32

float16 ends at 65,504, which as seconds is 18 hours, and in its 11 bits one score in 80 would equal
the next one of its list (12,101 items).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np

from engines.backends.constants import GATHERS
from engines.bundle import Bundle
from engines.compress.graph import downstream, dump, load, products, upstream, vectors_of
from engines.draft import Draft, draft_of

SENSITIVE = ("LayerNormalization", "ReduceL2", "Softmax")


def half(bundle: Bundle) -> Draft:
    """The engine with network and vectors in float16. Inputs and outputs stay as they are.

    Args:
        bundle: in float32, and scores items by vectors.
    """
    from onnxruntime.transformers import float16

    model = load(bundle)
    vectors, own = vectors_of(bundle), {node.name for node in model.graph.node}
    kept = [value.name for value in (*model.graph.input, *model.graph.output)]
    converted = float16.convert_float_to_float16(
        model,
        keep_io_types=[name for name in kept if name not in vectors],
        op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, *SENSITIVE],
        node_block_list=_in_float32(model.graph),
    )
    _rows_first(converted.graph, vectors)
    _join(converted.graph, own)
    tables = {
        name: table.astype(np.float16) if name in vectors else table
        for name, table in bundle.tables.items()
    }
    return replace(draft_of(bundle), model=dump(converted), tables=tables, precision="float16")


def _in_float32(graph: Any) -> list[str]:
    """The nodes outside of the networks, and those from the seconds to the first product."""
    asked = upstream(graph, [node.input[0] for node in products(graph)])
    elementwise = {node.op_type for node in graph.node} - {"MatMul"}
    seconds = downstream(graph, ["gap_s"], elementwise)
    return [node.name for node in graph.node if not set(node.output) & (asked - seconds)]


def _rows_first(graph: Any, vectors: Collection[str]) -> None:
    """Cast the rows that are gathered or cut out, not the whole table at every batch."""
    from onnx import TensorProto, helper

    casts = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast"}
    tables = {out: source for out, source in casts.items() if source in vectors}
    for node in list(graph.node):
        if node.op_type in (*GATHERS, "Slice") and node.input[0] in tables:
            out, rows = node.output[0], f"{node.output[0]}_half"
            node.input[0], node.output[0] = tables[node.input[0]], rows
            cast = helper.make_node("Cast", [rows], [out], f"{out}_cast", to=TensorProto.FLOAT)
            graph.node.append(cast)


def _join(graph: Any, own: Collection[str]) -> None:
    """Undo the casts to float16 and back that the converter puts between nodes of float32.

    Args:
        own: names of the nodes that were there before it.
    """
    inserted = {node.output[0]: node for node in graph.node if node.name not in own}
    joined = {
        out: inserted[cast.input[0]].input[0]
        for out, cast in inserted.items()
        if cast.input[0] in inserted
    }
    for node in graph.node:
        node.input[:] = [joined.get(name, name) for name in node.input]
    for out, source in joined.items():
        inserted[out].input[0] = source  # an output of the graph is still made by its cast
    read = {name for node in graph.node for name in node.input}
    read |= {value.name for value in graph.output}
    for out, cast in inserted.items():
        if out not in read:
            graph.node.remove(cast)

"""int8 with constant scales for what is learnt: weights of the network, vectors of items.

    weights int8 [D, N] ─ DequantizeLinear, a scale for each column ─ MatMul
    vectors int8 [C, D] ─┬─ DequantizeLinear, a scale for each row ─ Transpose ─ MatMul
                         ├─ Slice, a tile ─ the same
                         └─ Gather of some rows ─ Cast ─ times their scales

All arithmetic stays float32; ONNX Runtime undoes the storage when it loads the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from engines.backends.constants import GATHERS
from engines.bundle import Bundle
from engines.compress.graph import dump, layers, load, vectors_of
from engines.draft import Draft, draft_of
from engines.int8 import quantized, scale_of

LAST_AXIS = "last_axis"


def int8_weights(bundle: Bundle) -> Draft:
    """The engine with the weights of its layers as int8, a scale for each column."""
    model = load(bundle)
    store_layers(model.graph)
    return replace(draft_of(bundle), model=dump(model), precision="int8")


def int8_items(bundle: Bundle) -> Draft:
    """The engine with the vectors of its items as int8, a scale for each row."""
    model = load(bundle)
    vectors = vectors_of(bundle)
    store_vectors(model.graph, vectors)
    return replace(
        draft_of(bundle), model=dump(model), tables=stored(bundle, vectors), precision="int8"
    )


def stored(bundle: Bundle, vectors: Sequence[str]) -> dict[str, Any]:
    """All tables, ``vectors`` as int8 with scales."""
    tables = dict(bundle.tables)
    for name in vectors:
        tables[name], tables[scale_of(name)] = quantized(bundle.tables[name], axis=0)
    return tables


def store_layers(graph: Any) -> None:
    """Put int8 and DequantizeLinear in the place of the layers' weights."""
    from onnx import numpy_helper

    for name, tensor in {tensor.name: tensor for _, tensor in layers(graph)}.items():
        numbers, scale = quantized(numpy_helper.to_array(tensor), axis=1)
        tensor.CopyFrom(numpy_helper.from_array(numbers, f"{name}_int8"))
        graph.initializer.append(numpy_helper.from_array(scale, scale_of(name)))
        graph.node.append(_restored([f"{name}_int8", scale_of(name)], name, axis=1))


def store_vectors(graph: Any, vectors: Sequence[str]) -> None:
    """Have the graph read tables as int8 with scales."""
    from onnx import TensorProto, helper, numpy_helper

    for name in vectors:
        value = next(value for value in graph.input if value.name == name).type.tensor_type
        value.elem_type = TensorProto.INT8
        rows = value.shape.dim[0].dim_value
        graph.input.append(helper.make_tensor_value_info(scale_of(name), TensorProto.FLOAT, [rows]))
        nodes = [part for node in graph.node for part in _reading(node, name)]
        graph.ClearField("node")
        graph.node.extend(nodes)
        if any(_whole(name) in node.input for node in nodes):
            graph.node.append(_restored([name, scale_of(name)], _whole(name), axis=0))
    graph.initializer.append(numpy_helper.from_array(np.array([-1]), LAST_AXIS))


def _reading(node: Any, name: str) -> list[Any]:
    """What stands for a node when the table is int8: it restores its own rows only."""
    from onnx import TensorProto, helper

    if node.op_type == "Slice" and node.input[0] == name:  # of rows: a whole one is of no use
        tile = [_copied(node, table) for table in (name, scale_of(name))]
        return [*tile, _restored([part.output[0] for part in tile], node.output[0], axis=0)]
    if node.op_type not in GATHERS or node.input[0] != name:
        node.input[:] = [_whole(name) if read == name else read for read in node.input]
        return [node]
    out = node.output[0]
    rows, scales = (_copied(node, table) for table in (name, scale_of(name)))
    number, scale = f"{out}_number", f"{out}_scale"
    return [
        rows,
        scales,
        helper.make_node("Cast", rows.output, [number], number, to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", [*scales.output, LAST_AXIS], [scale], scale),
        helper.make_node("Mul", [number, scale], [out], node.name),
    ]


def _copied(node: Any, table: str) -> Any:
    """The same gather from another table."""
    copy = type(node)()
    copy.CopyFrom(node)
    copy.input[0] = table
    copy.name = copy.output[0] = f"{node.output[0]}_{table}"
    return copy


def _restored(stored: Sequence[str], out: str, axis: int) -> Any:
    from onnx import helper

    return helper.make_node("DequantizeLinear", stored, [out], f"{out}_restored", axis=axis)


def _whole(table: str) -> str:
    return f"{table}_float32"

"""What the steps look for in an engine's graph.

item_vectors [C, D] ─ Transpose ─┐
told [B, D] ─────────────────────┴─ MatMul: a product, the scores of all items
x ─ MatMul with a constant: a layer
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from engines.bundle import Bundle
from engines.models.tables import VECTORS

LEAST_WIDTH = 16
"""Of a layer that is worth it: by both dimensions of its weights."""


def load(bundle: Bundle) -> Any:
    """The ModelProto of a bundle; every node has a name."""
    import onnx

    model = onnx.load_model_from_string(bundle.model)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{number}"
    return model


def dump(model: Any) -> bytes:
    """The serialised model, its nodes in an order in which they can be run.

    Equal models give equal bytes.
    """
    import onnx
    from onnxruntime.transformers.onnx_model import OnnxModel

    OnnxModel.graph_topological_sort(model.graph)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def shapes_of(model: Any) -> dict[str, list[int]]:
    """The shape of every input and every value in between, by name; the model's are fixed."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    return {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info)
    }


def vectors_of(bundle: Bundle) -> list[str]:
    """The tables that hold vectors in float32."""
    tables = bundle.tables
    return [name for name in VECTORS if name in tables and tables[name].dtype == "float32"]


def layers(graph: Any) -> Iterator[tuple[Any, Any]]:
    """The products with a constant matrix: node and its float32 initializer [D, N]."""
    from onnx import TensorProto

    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        weights = constants.get(node.input[1]) if node.op_type == "MatMul" else None
        if weights is None or weights.data_type != TensorProto.FLOAT or len(weights.dims) != 2:
            continue
        if min(weights.dims) >= LEAST_WIDTH:
            yield node, weights


def products(graph: Any) -> list[Any]:
    """The MatMul nodes that score all items by their vectors."""
    columns = downstream(graph, VECTORS, ("DequantizeLinear", "Slice", "Transpose"))
    return [node for node in graph.node if node.op_type == "MatMul" and node.input[1] in columns]


def downstream(graph: Any, names: Collection[str], through: Collection[str] = ()) -> set[str]:
    """All values that come from ``names``, with these; only through operators of some types."""
    found = set(names)
    for node in graph.node:
        if (not through or node.op_type in through) and found & set(node.input):
            found.update(node.output)
    return found


def upstream(graph: Any, names: Collection[str]) -> set[str]:
    """All values that ``names`` come from, with these."""
    found = set(names)
    for node in reversed(graph.node):
        if found & set(node.output):
            found.update(node.input)
    return found

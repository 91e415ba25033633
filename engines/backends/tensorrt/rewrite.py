"""What TensorRT's ONNX parser lacks, said in operators that it has. ``model.onnx`` stays as it is.

``ScatterElements`` along axis 1 is all of it. TensorRT does not add there, it only writes; so every
update is first made the sum of all that go to its place:

    at [B, M] ─▶ same place [B, M, M] ─▶ totals [B, M] ─┐
    data [B, W] ─▶ what is there now [B, M] ────────────┴▶ + ─▶ written; equal places, equal values

And it writes no more than there are places: where M > W, as in a small shop, the row is padded
to M places before, and cut after.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class _Value(NamedTuple):
    """What is known of a value of the graph."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def for_tensorrt(data: bytes) -> bytes:
    """The model with every ``ScatterElements`` that TensorRT refuses replaced.

    Args:
        data: serialised ONNX of fixed shapes.

    Returns:
        a model with the same inputs and outputs; sums may differ in the last bit.
    """
    import onnx

    model = onnx.load_model_from_string(data)
    known = _known(model)
    nodes: list[Any] = []
    for number, node in enumerate(model.graph.node):
        if node.op_type != "ScatterElements" or (given := _attributes(node)).get("axis") != 1:
            nodes.append(node)
            continue
        rewriting = _Rewriting(f"scatter_{number}_", known[node.input[0]], known[node.input[1]])
        if given.get("reduction") == b"add":
            node.input[2] = rewriting.totals(*node.input)
        rewriting.write(*node.input, output=node.output[0])
        nodes += rewriting.nodes
        model.graph.initializer.extend(rewriting.constants())
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString(deterministic=True))


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _known(model: Any) -> dict[str, _Value]:
    """Dtype and shape of every value, by name."""
    import onnx

    dtype_of = onnx.helper.tensor_dtype_to_np_dtype
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    known = {t.name: _Value(dtype_of(t.data_type), tuple(t.dims)) for t in graph.initializer}
    for value in (*graph.input, *graph.value_info):
        tensor = value.type.tensor_type
        shape = tuple(dim.dim_value for dim in tensor.shape.dim)
        known[value.name] = _Value(dtype_of(tensor.elem_type), shape)
    return known


class _Rewriting:
    """Nodes in place of one ``ScatterElements``.

    Args:
        prefix: of the names of its values.
        data: [B, W].
        at: int64 [B, M].

    Attributes:
        nodes: so far, in an order in which they can be run.
    """

    def __init__(self, prefix: str, data: _Value, at: _Value) -> None:
        self._prefix = prefix
        self._data = data
        self._missing = at.shape[1] - data.shape[1]
        self._constants: dict[str, NDArray[Any]] = {}
        self.nodes: list[Any] = []

    def totals(self, data: str, at: str, updates: str) -> str:
        """What each place [B, M] holds in the end: what is there now, and all that go there."""
        axis_1, axis_2 = self._constant("axis_1", [1]), self._constant("axis_2", [2])
        same = self._node(
            "Equal", self._node("Unsqueeze", at, axis_2), self._node("Unsqueeze", at, axis_1)
        )
        each = self._node("Unsqueeze", updates, axis_1)
        nothing = self._constant("nothing", 0, self._data.dtype)
        shared = self._node("Where", same, each, nothing)  # a product would make NaN of 0 * inf
        total = self._node("ReduceSum", shared, axis_2, keepdims=0)
        return self._node("Add", self._node("GatherElements", data, at, axis=1), total)

    def write(self, data: str, at: str, updates: str, *, output: str) -> None:
        """The data [B, W] with the updates [B, M] written at their places."""
        if self._missing <= 0:
            self._node("ScatterElements", data, at, updates, output=output, axis=1)
            return
        batch, width = self._data.shape
        pads = self._constant("pads", np.zeros((batch, self._missing)), self._data.dtype)
        padded = self._node("Concat", data, pads, axis=1)
        written = self._node("ScatterElements", padded, at, updates, axis=1)
        cut = [self._constant(name, [value]) for name, value in
               (("from", 0), ("to", width), ("axis", 1))]  # fmt: skip
        self._node("Slice", written, *cut, output=output)

    def constants(self) -> Iterator[Any]:
        """What the nodes refer to, as ONNX tensors."""
        from onnx import numpy_helper

        for name, array in self._constants.items():
            yield numpy_helper.from_array(array, name)

    def _node(self, kind: str, *inputs: str, output: str = "", **attributes: int) -> str:
        from onnx import helper

        output = output or f"{self._prefix}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def _constant(self, name: str, value: Any, dtype: Any = np.int64) -> str:
        self._constants[self._prefix + name] = np.asarray(value, dtype)
        return self._prefix + name

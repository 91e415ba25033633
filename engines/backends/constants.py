"""The tables of a bundle in ONNX Runtime, read where they lie.

    neighbours [C, N] ── Gather ─▶          an input as before, given to every run
    item_vectors [C, D] ─┬─ Transpose ─▶    constant item_vectors, laid out at the loading
                         └─ Slice ─▶ x      constant x, a view of the table's rows

Inside of the model they would end at the 2 GiB of a protobuf. ONNX Runtime copies constants that
stay as they are: 2.9 GB of vectors at 10 M items, once more where it cuts them into tiles.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle

Constants = dict[str, NDArray[Any]]

GATHERS = ("Gather", "GatherND")


def with_tables(bundle: Bundle, *, fed: bool) -> tuple[bytes, Constants]:
    """The model with what it computes from tables alone ready to be computed once.

    Args:
        fed: tables of which it only gathers what features ask for stay inputs, to be given to every
            run; but for those of float16.

    Returns:
        the model; and the constants by name, of which it says that number n is in the file
        ``n.bin``. They are the bundle's own arrays or views of these.
    """
    import onnx

    model = onnx.load_model_from_string(bundle.model)
    graph = model.graph
    tiles = _tiles(graph, bundle.tables)
    nodes = [node for node in graph.node if node.output[0] not in tiles]
    kept = {*bundle.tables}
    if fed:
        features = [tensor.name for tensor in bundle.manifest.inputs]
        # Of a whole input of float16 ONNX Runtime would make float32, at every run.
        half = {name for name, table in bundle.tables.items() if table.dtype == np.float16}
        kept = _read_whole(nodes, features) | half
    constants = {name: table for name, table in bundle.tables.items() if name in kept} | tiles
    inputs = [value for value in graph.input if value.name not in constants]
    del graph.input[:], graph.node[:]
    graph.input.extend(inputs)
    graph.node.extend(nodes)
    for number, (name, array) in enumerate(constants.items()):
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        tensor = graph.initializer.add(name=name, dims=array.shape, data_type=kind)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=f"{number}.bin")
    return bytes(model.SerializeToString()), constants


def _read_whole(nodes: Iterable[Any], features: Iterable[str]) -> set[str]:
    """All that nodes read, but for that of which they gather what features ask for."""
    asked, whole = set(features), set()
    for node in nodes:
        rows_alone = node.op_type in GATHERS and node.input[1] in asked
        whole.update(node.input[rows_alone:])
        if asked & set(node.input):
            asked.update(node.output)
    return whole


def _tiles(graph: Any, tables: Constants) -> Constants:
    """What the graph cuts out of tables: rows from one number on up to another."""
    from onnx import numpy_helper

    known = {tensor.name: tensor for tensor in graph.initializer}
    tiles = {}
    for node in graph.node:
        if (
            node.op_type == "Slice"
            and node.input[0] in tables
            and known.keys() >= {*node.input[1:]}
        ):
            given = [numpy_helper.to_array(known[name]).tolist() for name in node.input[1:]]
            starts, ends, *along = given
            if along in ([[0]], [[0], [1]]):
                tiles[node.output[0]] = tables[node.input[0]][starts[0] : ends[0]]
    return tiles

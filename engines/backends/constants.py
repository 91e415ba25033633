"""The tables of a bundle as constants of its model: ONNX Runtime reads them where they lie.

    item_vectors [C, D] ─┬──────────────▶ constant item_vectors
                         └─ Slice ─▶ x    constant x, a view of the table's rows

Inside of the model they would end at the 2 GiB of a protobuf. And where it cuts a table into tiles,
the tiles would be copied: 2.9 GB at 10 M items.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from engines.bundle import Bundle

Constants = dict[str, NDArray[Any]]


def with_tables(bundle: Bundle) -> tuple[bytes, Constants]:
    """The model without inputs for tables, and its constants that lie outside.

    Returns:
        the model; and the constants by name, of which the model says that number n is in the file
        ``n.bin``. They are the bundle's own arrays or views of these.
    """
    import onnx

    model = onnx.load_model_from_string(bundle.model)
    graph = model.graph
    constants = bundle.tables | _tiles(graph, bundle.tables)
    inputs = [value for value in graph.input if value.name not in constants]
    nodes = [node for node in graph.node if node.output[0] not in constants]
    del graph.input[:], graph.node[:]
    graph.input.extend(inputs)
    graph.node.extend(nodes)
    for number, (name, array) in enumerate(constants.items()):
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        tensor = graph.initializer.add(name=name, dims=array.shape, data_type=kind)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=f"{number}.bin")
    return bytes(model.SerializeToString()), constants


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

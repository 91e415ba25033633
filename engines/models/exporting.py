"""From PyTorch modules and ONNX nodes to the bytes of one graph of fixed shapes.

module, example inputs ──▶ nodes and constants ─┐
nodes of our own ──────────────────────────────┴─▶ model.onnx, equal bytes for equal weights
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engines.features import FEATURES
from engines.manifest import outputs_of
from engines.models.top_k import Constants

if TYPE_CHECKING:
    from torch import Tensor, nn

OPSET = 18
IR_VERSION = 8
"""Opset 18 and IR 8 are of ONNX 1.13: every runtime in use reads them."""


def nodes_of(
    module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str]
) -> tuple[list[Any], Constants]:
    """A module as ONNX nodes that read ``inputs`` by name and make ``outputs``.

    Args:
        module: in evaluation mode; its ``forward`` takes ``inputs`` by these names.
        inputs: an example of each, of the one shape that it is exported for.

    Returns:
        the nodes, and the constants that they refer to.
    """
    import torch
    from onnx import numpy_helper

    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)  # it warns of libraries that are not there and not needed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                kwargs=dict(inputs),
                input_names=list(inputs),
                output_names=list(outputs),
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    finally:
        quiet.setLevel(level)
    assert program is not None
    graph = program.model_proto.graph
    for node in graph.node:  # where in whose source it was made is of no use, and names folders
        del node.metadata_props[:]
        node.doc_string = ""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return list(graph.node), constants


def export(
    name: str,
    module: nn.Module,
    input_widths: Mapping[str, int],
    tables: Mapping[str, NDArray[Any]],
    *,
    batch: int,
    k: int,
) -> bytes:
    """A module that makes lists as a serialised engine; equal weights give equal bytes.

    Args:
        name: of the graph.
        module: in evaluation mode; its ``forward`` takes the inputs and tables by name and gives
            ``scores``, ``items`` and ``channels`` [B, k].
        input_widths, tables, batch, k: as of `assemble`.
    """
    import torch

    inputs = {
        feature: torch.zeros(batch, width, dtype=getattr(torch, FEATURES[feature]))
        for feature, width in input_widths.items()
    }
    inputs |= {table: torch.from_numpy(array) for table, array in tables.items()}
    outputs = [tensor.name for tensor in outputs_of(batch, k)]
    nodes, constants = nodes_of(module, inputs, outputs)
    return assemble(name, nodes, constants, input_widths, batch=batch, k=k, tables=tables)


def assemble(
    name: str,
    nodes: Sequence[Any],
    constants: Mapping[str, NDArray[Any]],
    input_widths: Mapping[str, int],
    *,
    batch: int,
    k: int,
    tables: Mapping[str, NDArray[Any]] | None = None,
) -> bytes:
    """The serialised engine; equal arguments give equal bytes.

    Args:
        name: of the graph.
        nodes: in an order in which they can be run; they make ``scores``, ``items``, ``channels``.
        constants: what they read beside the inputs.
        input_widths: feature name -> second dimension.
        batch, k: of the fixed shapes.
        tables: other inputs, whose names, shapes and dtypes alone become part of the graph.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    kinds = {
        "float32": TensorProto.FLOAT,
        "int32": TensorProto.INT32,
        "int64": TensorProto.INT64,
    }
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        list(nodes),
        name,
        [
            *(value(n, kinds[FEATURES[n]], [batch, width]) for n, width in input_widths.items()),
            *(
                value(n, kinds[str(table.dtype)], table.shape)
                for n, table in (tables or {}).items()
            ),
        ],
        [value(t.name, kinds[t.dtype], t.shape) for t in outputs_of(batch, k)],
        [numpy_helper.from_array(np.asarray(array), key) for key, array in constants.items()],
    )
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
    checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))

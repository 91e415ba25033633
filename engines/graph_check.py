"""What an ONNX graph must not hold, judged from its protobuf before any session is opened.

A list must depend on its own profile alone, byte for byte. So refused are: code and data from
outside the file (custom operators, external tensors), randomness, and operators that let one row of
the batch reach another (a scale over the whole batch, a reduction along axis 0). The last rule is
a net with holes: a transpose hides the batch's axis, a gather or a slice moves rows. So
``EngineBackend.warm_up`` also tries the loaded engine, on one batch of made-up profiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from engines.manifest import MODEL, Manifest, Table, Tensor
from schemas.errors import BundleRefused

STANDARD_DOMAINS = ("", "ai.onnx")
MIXING = frozenset(
    {"Compress", "DynamicQuantizeLinear", "MeanVarianceNormalization", "NonZero", "Unique"}
)
RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike"}
    | {"RandomUniform", "RandomUniformLike"}
)
DEFAULT_AXIS = {"ArgMax": 0, "ArgMin": 0} | dict.fromkeys(
    ("Hardmax", "LayerNormalization", "LogSoftmax", "LpNormalization", "Softmax", "TopK"), -1
)
"""Operators along the one axis of their ``axis`` attribute, and its default."""
DTYPES = {1: "float32", 3: "int8", 6: "int32", 7: "int64", 10: "float16"}  # TensorProto.DataType


def check_model(data: bytes, manifest: Manifest) -> None:
    """Refuse a model that is dangerous, mixes rows, or is not what the manifest says.

    Args:
        data: the verified bytes of ``model.onnx``.

    Raises:
        BundleRefused: with what was found.
    """
    model = _parse(data)
    _check_signature("inputs", model.graph.input, [*manifest.inputs, *manifest.tables])
    _check_signature("outputs", model.graph.output, manifest.outputs)
    graphs = list(_graphs(model.graph))
    for graph in graphs:
        _check_tensors(graph)
        _check_domains(graph.node)
    if model.functions:
        raise _refusal("defines operators", "standard ONNX operators", model.functions[0].name)
    inferred = _inferred(model)
    constants = _constants(graphs)
    for graph in _graphs(inferred.graph):
        ranks = _ranks(graph)
        for node in graph.node:
            _check_rows_apart(node, constants, ranks)


def _parse(data: bytes) -> Any:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        return onnx.load_model_from_string(data)
    except DecodeError as error:
        raise _refusal("is not an ONNX model", "an ONNX ModelProto", str(error)) from error


def _inferred(model: Any) -> Any:
    """The model with the shape of every value, which proves that its operators fit together."""
    import onnx

    try:
        onnx.checker.check_model(model)
        return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        received = " ".join(str(error).split())[:300]
        raise _refusal("is not sound", "known operators that fit together", received) from error


def _graphs(graph: Any) -> Iterator[Any]:
    """``graph`` and every subgraph inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _graphs(inner)


def _check_tensors(graph: Any) -> None:
    from onnx import TensorProto

    attributes = [attribute for node in graph.node for attribute in node.attribute]
    sparse = list(graph.sparse_initializer)
    for attribute in attributes:
        sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
    tensors = list(graph.initializer)
    for attribute in attributes:
        tensors += [attribute.t, *attribute.tensors]
    for pair in sparse:
        tensors += [pair.values, pair.indices]
    for tensor in tensors:
        if tensor.external_data or tensor.data_location == TensorProto.EXTERNAL:
            raise _refusal("reads data outside itself", "all data inside the file", tensor.name)


def _check_domains(nodes: Iterable[Any]) -> None:
    for node in nodes:
        if node.domain not in STANDARD_DOMAINS:
            raise _refusal(
                "uses a custom operator",
                "standard ONNX operators",
                f"{node.domain}.{node.op_type}",
            )
        if node.op_type in RANDOM:
            raise _refusal("is random", "the same list for the same profile", node.op_type)


def _check_rows_apart(node: Any, constants: dict[str, list[int]], ranks: dict[str, int]) -> None:
    attributes: dict[str, Any] = {a.name: list(a.ints) if a.ints else a.i for a in node.attribute}
    mixes = node.op_type in MIXING
    if node.op_type == "BatchNormalization":
        mixes = attributes.get("training_mode", 0) == 1
    elif node.op_type in DEFAULT_AXIS:
        axis = attributes.get("axis", DEFAULT_AXIS[node.op_type])
        mixes = _first(axis, node, ranks)
    elif node.op_type == "CumSum" or node.op_type.startswith("Reduce"):
        mixes = any(_first(axis, node, ranks) for axis in _axes(node, attributes, constants))
    if mixes:
        raise _refusal(
            "mixes the rows of a batch",
            "every list computed from its own row alone",
            f"{node.op_type} {node.name or node.output[0]!r}",
            "export without dynamic quantisation, and with an axis other than 0",
        )


def _first(axis: int, node: Any, ranks: dict[str, int]) -> bool:
    """Whether ``axis`` of the node's first input is the first one, counted from either end."""
    return axis == 0 or axis == -ranks.get(node.input[0], 0)


def _axes(node: Any, attributes: dict[str, Any], constants: dict[str, list[int]]) -> list[int]:
    """The axes that a node sums over; [0] where it is all of them, or where it cannot be told."""
    if "axes" in attributes:
        return list(attributes["axes"])
    if len(node.input) > 1 and node.input[1]:
        return constants.get(node.input[1], [0])
    return [] if attributes.get("noop_with_empty_axes") else [0]


def _constants(graphs: list[Any]) -> dict[str, list[int]]:
    """Integer vectors known beforehand, which may name axes."""
    from onnx import TensorProto, numpy_helper

    named = [(tensor.name, tensor) for graph in graphs for tensor in graph.initializer]
    for graph in graphs:
        for node in graph.node:
            if node.op_type == "Constant":
                named += [(node.output[0], a.t) for a in node.attribute if a.name == "value"]
    return {
        name: numpy_helper.to_array(tensor).reshape(-1).tolist()
        for name, tensor in named
        if tensor.data_type in (TensorProto.INT64, TensorProto.INT32) and len(tensor.dims) <= 1
    }


def _ranks(graph: Any) -> dict[str, int]:
    """How many dimensions each value has, as far as inferred."""
    ranks = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.HasField("shape"):
            ranks[value.name] = len(value.type.tensor_type.shape.dim)
    return ranks


def _check_signature(kind: str, values: Iterable[Any], tensors: Sequence[Tensor | Table]) -> None:
    """The graph's inputs or outputs against the manifest's: names, dtypes and fixed shapes."""
    claimed = {tensor.name: f"{tensor.dtype}{tensor.shape}" for tensor in tensors}
    found = {}
    for value in values:
        tensor = value.type.tensor_type
        shape = [dim.dim_value or dim.dim_param or "?" for dim in tensor.shape.dim]
        found[value.name] = f"{DTYPES.get(tensor.elem_type, tensor.elem_type)}{shape}"
    if found != claimed:
        raise _refusal(f"has other {kind} than the manifest says", str(claimed), str(found))


def _refusal(what: str, expected: str, received: str, fix: str = "") -> BundleRefused:
    return BundleRefused(
        f"the engine bundle is refused: {MODEL} {what}",
        expected=expected,
        received=received,
        fix=fix or "export the engine again with headrace, or fetch a whole copy of the bundle",
    )

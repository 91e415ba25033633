"""Product quantisation of item vectors: M bytes an item. See `engines.product_codes`.

    codes int8 [C, M] ─┬───────────────────────────── restore ─ Transpose ─ MatMul
                       ├─ Slice, of a tile ────────── restore ─ Transpose ─ MatMul
                       └─ Gather, of a user's items ─ restore
    restore: Cast ─ Add ─ Gather from the codebooks ─ Reshape ─ divided by ReduceL2

ONNX Runtime restores all vectors once, when it loads the model; TensorRT does at every batch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.backends.constants import GATHERS
from engines.bundle import Bundle
from engines.compress.graph import dump, load, shapes_of, vectors_of
from engines.compress.weights import LAST_AXIS
from engines.draft import Draft, draft_of
from engines.product_codes import LEAST_LENGTH, MOST, codebooks_of, encoded, first_rows
from schemas.errors import EngineError

SOME_ROWS = (*GATHERS, "Slice")
LEAST = "least_length"
ITERATIONS = 25
POINTS = 256
"""Vectors a centroid that are looked at: 65,280 of a larger catalogue."""


def product_items(bundle: Bundle, size_bytes: int) -> Draft:
    """The engine with the vectors of its items as ``size_bytes`` codes each.

    Raises:
        EngineError: vectors do not have so many parts of one size, or faiss is not installed.
    """
    from onnx import numpy_helper

    model, tables = load(bundle), dict(bundle.tables)
    shapes = shapes_of(model)
    for constant, value in ((LAST_AXIS, np.array([-1])), (LEAST, np.array(LEAST_LENGTH))):
        model.graph.initializer.append(numpy_helper.from_array(value, constant))
    for name in vectors_of(bundle):
        vectors = bundle.tables[name]
        _check_parts(bundle, vectors.shape[1], size_bytes)
        tables[codebooks_of(name)] = fitted_codebooks(vectors, size_bytes)
        tables[name] = encoded(vectors, tables[codebooks_of(name)])
        _read_codes(model.graph, name, tables, shapes)
    return replace(draft_of(bundle), model=dump(model), tables=tables, precision="int8")


def fitted_codebooks(vectors: NDArray[np.float32], parts: int) -> NDArray[np.float32]:
    """Centroids of each part by k-means, float32 [M * K, D / M], the first of each zero.

    K is 256, or less where there are fewer vectors. Equal arguments give equal bytes.

    Args:
        vectors: float32 [C, D]; zero ones are left out.
        parts: M.
    """
    met = vectors[vectors.any(1)]
    count = min(MOST - 1, len(met))
    books = []
    for part in np.split(met, parts, axis=1):
        nothing = np.zeros((1, part.shape[1]), np.float32)
        books += [nothing, _centroids(np.ascontiguousarray(part), count)]
    return np.concatenate(books)


def _centroids(points: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    try:
        from faiss import ClusteringInitMethod_KMEANS_PLUS_PLUS, Kmeans
    except ModuleNotFoundError as error:
        raise EngineError(
            f"product quantisation needs the package {error.name}",
            expected="headrace with its extra train",
            received="headrace without it",
            fix="pip install 'headrace[train]'",
        ) from error
    fit = Kmeans(
        points.shape[1],
        count,
        niter=ITERATIONS,
        init_method=ClusteringInitMethod_KMEANS_PLUS_PLUS,
        seed=0,
        min_points_per_centroid=1,
        max_points_per_centroid=POINTS,
    )
    fit.train(points)
    return np.asarray(fit.centroids, np.float32)


def _check_parts(bundle: Bundle, width: int, parts: int) -> None:
    if width % parts:
        fitting = [str(number) for number in range(1, width + 1) if width % number == 0]
        raise EngineError(
            f"the vectors of {bundle.label} cannot be cut into {parts} equal parts",
            expected=f"{', '.join(fitting)} bytes an item, as a vector has {width} numbers",
            received=f"{parts}",
            fix="give one of these",
        )


def _read_codes(
    graph: Any, name: str, tables: dict[str, NDArray[Any]], shapes: dict[str, list[int]]
) -> None:
    """Have the graph read a table as codes: what takes some rows of it restores these alone."""
    from onnx import TensorProto, helper, numpy_helper

    codes, books = tables[name], tables[codebooks_of(name)]
    value = next(value for value in graph.input if value.name == name)
    value.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.INT8, codes.shape))
    graph.input.append(
        helper.make_tensor_value_info(codebooks_of(name), TensorProto.FLOAT, books.shape)
    )
    first = numpy_helper.from_array(first_rows(codes.shape[1], len(books)), _first_of(name))
    graph.initializer.append(first)
    whole = f"{name}_whole"
    for node in [node for node in graph.node if name in node.input]:
        if node.op_type in SOME_ROWS:
            out = node.output[0]
            node.output[0] = f"{out}_codes"
            _restore(graph, name, f"{out}_codes", out, shapes[out])
        else:
            node.input[:] = [whole if read == name else read for read in node.input]
    if any(whole in node.input for node in graph.node):
        _restore(graph, name, name, whole, shapes[name])


def _restore(graph: Any, name: str, codes: str, out: str, shape: list[int]) -> None:
    """Nodes that make vectors ``out`` [..., D] of codes [..., M] of a table, as `decoded` does."""
    from onnx import TensorProto, helper, numpy_helper

    node, to = helper.make_node, f"{out}_shape"
    number, row, parts, vector, length, divisor = (
        f"{out}_{made}" for made in ("number", "row", "parts", "vector", "length", "divisor")
    )
    graph.initializer.append(numpy_helper.from_array(np.array(shape), to))
    graph.node.extend(
        [
            node("Cast", [codes], [number], number, to=TensorProto.INT32),
            node("Add", [number, _first_of(name)], [row], row),
            node("Gather", [codebooks_of(name), row], [parts], parts),
            node("Reshape", [parts, to], [vector], vector),
            node("ReduceL2", [vector, LAST_AXIS], [length], length),
            node("Max", [length, LEAST], [divisor], divisor),
            node("Div", [vector, divisor], [out], f"{out}_restored"),
        ]
    )


def _first_of(table: str) -> str:
    return f"{table}_first_rows"

"""int8 activations beside int8 weights, with constant scales: what a log made the network say.

    x ─ QuantizeLinear ─ DequantizeLinear ─┐
    weights int8 ─ DequantizeLinear ───────┴─ MatMul      zero points 0, one scale for all of x

TensorRT runs such a MatMul in int8. Quantised are the layers and the products with the vectors of
all items; attention between events, softmax and normalisation are not, nor are scores.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, create_calibrator

from engines.backends.base import Tensors
from engines.backends.constants import with_tables
from engines.bundle import Bundle
from engines.compress.graph import dump, layers, load, products, vectors_of
from engines.compress.weights import store_layers, store_vectors, stored
from engines.draft import Draft, draft_of
from engines.int8 import HIGHEST
from schemas.errors import EngineError

ZERO = "no_zero_point"


def int8(bundle: Bundle, batches: Sequence[Tensors]) -> Draft:
    """The engine with int8 weights, vectors and activations.

    Args:
        bundle: in float32.
        batches: inputs of ``manifest.batch`` real users each.

    Raises:
        EngineError: none of them has an item of the engine.
    """
    if not any(batch["item"].any() for batch in batches):
        raise EngineError(
            f"there is nobody to calibrate {bundle.label} with",
            expected="users with items that the engine knows",
            received="only users without any",
            fix="calibrate with the log that it was trained on",
        )
    model = load(bundle)
    graph, vectors = model.graph, vectors_of(bundle)
    read = dict.fromkeys(
        node.input[0] for node in (*(node for node, _ in layers(graph)), *products(graph))
    )
    highest = _highest(bundle, batches)
    store_layers(graph)
    store_vectors(graph, vectors)
    for name in read:
        _round(graph, name, highest[name])
    graph.initializer.append(numpy_helper.from_array(np.int8(0), ZERO))
    tables = stored(bundle, vectors)
    return replace(draft_of(bundle), model=dump(model), tables=tables, precision="int8")


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Batches as ONNX Runtime's calibration asks for them."""

    def __init__(self, bundle: Bundle, batches: Iterable[Tensors]) -> None:
        names = [tensor.name for tensor in bundle.manifest.inputs]
        self._batches = iter([{name: batch[name] for name in names} for batch in batches])

    def get_next(self) -> Tensors | None:
        return next(self._batches, None)


def _highest(bundle: Bundle, batches: Sequence[Tensors]) -> dict[str, float]:
    """The largest magnitude that each value into or out of a MatMul took."""
    with tempfile.TemporaryDirectory() as folder:
        calibrator = create_calibrator(
            written(bundle, Path(folder)),
            op_types_to_calibrate=["MatMul"],
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            use_external_data_format=True,
            extra_options={"symmetric": True},
        )
        calibrator.collect_data(_Reader(bundle, batches))
        found = calibrator.compute_data().data
    return {name: float(np.max(ranges.range_value[1])) for name, ranges in found.items()}


def written(bundle: Bundle, folder: Path) -> Path:
    """The model as a file in ``folder`` that can be run, with its tables beside it."""
    model, constants = with_tables(bundle, fed=False)
    for number, array in enumerate(constants.values()):
        array.tofile(folder / f"{number}.bin")
    path = folder / "model.onnx"
    path.write_bytes(model)
    return path


def _round(graph: Any, name: str, highest: float) -> None:
    """Have every MatMul read ``name`` by way of int8."""
    scale = f"{name}_step"
    value = np.float32(max(highest, 1e-9) / HIGHEST)
    graph.initializer.append(numpy_helper.from_array(np.asarray(value), scale))
    rounded, restored = f"{name}_int8", f"{name}_rounded"
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[0] == name:
            node.input[0] = restored
    for operator, read, made in (
        ("QuantizeLinear", name, rounded),
        ("DequantizeLinear", rounded, restored),
    ):
        graph.node.append(helper.make_node(operator, [read, scale, ZERO], [made], made))

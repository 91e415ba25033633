"""The least time that a device needs for a batch: its roofline.

    roofline = max( FLOP of the batch / FLOP/s of the device, bytes of the batch / bytes/s )

(Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for multicore
architectures", CACM 52(4), 2009.) Both peaks are measured, not read from a data sheet: a large
matrix product and a large copy, in float32, the best of several.

What a batch must do is counted in ``model.onnx``: two FLOP for each multiplication of a matrix
product, and of bytes only what no fusion can save, see `work_of`. So it is a bound from below, but
for two things: what fits in a cache is read faster than memory allows, and a GPU multiplies float16
and int8 faster than float32.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from engines.backends.base import Device
from engines.bundle import Bundle

ROUNDS = 20
"""Of which the shortest counts: on a busy machine one of so many has a core to itself."""
SIDE = {"cpu": 1_024, "cuda": 8_192}
"""Of the two square matrices."""
COPIED = {"cpu": 1 << 24, "cuda": 1 << 28}
"""Numbers that are copied: more than any cache holds."""


@dataclass(frozen=True)
class Work:
    """What one batch costs at least.

    Args:
        flop: additions and multiplications of the matrix products.
        moved_bytes: read from and written to memory.
    """

    flop: int
    moved_bytes: int


@dataclass(frozen=True)
class Peak:
    """What a device can do."""

    flop_per_s: float
    bytes_per_s: float

    def least_ms(self, work: Work) -> float:
        """The roofline."""
        seconds = max(work.flop / self.flop_per_s, work.moved_bytes / self.bytes_per_s)
        return seconds * 1000


def work_of(bundle: Bundle) -> Work:
    """The work of one batch.

    FLOP: 2 M N K of every product [M, K] x [K, N], ``MatMul`` and ``Gemm``. Bytes: inputs, outputs,
    and each constant and table once; of one that is only gathered from, the rows that are.
    """
    import onnx

    model = onnx.load_model_from_string(bundle.model)
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = _shapes(graph)
    flop = sum(_flop(node, shapes) for node in graph.node if node.op_type in ("MatMul", "Gemm"))
    manifest = bundle.manifest
    given = sum(_size_bytes(t.shape, t.dtype) for t in (*manifest.inputs, *manifest.outputs))
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    kept = {**stored, **bundle.tables}
    read = sum(_read_bytes(graph, name, array, shapes) for name, array in kept.items())
    return Work(flop, given + read)


def _shapes(graph: Any) -> dict[str, list[int]]:
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        shapes[value.name] = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return shapes


def _flop(node: Any, shapes: dict[str, list[int]]) -> int:
    turned = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    inner = shapes[node.input[0]][-2 if turned else -1]
    return 2 * math.prod(shapes[node.output[0]]) * inner


def _read_bytes(graph: Any, name: str, array: Any, shapes: dict[str, list[int]]) -> int:
    readers = [node for node in graph.node if name in node.input]
    if any(node.op_type != "Gather" or node.input[0] != name for node in readers):
        return int(array.nbytes)
    rows = sum(_size_bytes(shapes[node.output[0]], array.dtype) for node in readers)
    return min(rows, int(array.nbytes))


def _size_bytes(shape: list[int], dtype: Any) -> int:
    return math.prod(shape) * np.dtype(dtype).itemsize


@lru_cache
def measured_peak(device: Device, threads: int) -> Peak | None:
    """What a device can do, measured with PyTorch, once in a process; None if it is not here.

    Args:
        threads: of the CPU.
    """
    try:
        import torch
    except ImportError:
        return None
    if device == "cuda" and not torch.cuda.is_available():
        return None
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        side, copied = SIDE[device], COPIED[device]
        one, other = (torch.rand(side, side, device=device) for _ in range(2))
        product = torch.empty_like(one)
        product_s = _least_s(lambda: torch.mm(one, other, out=product), device)
        source, target = (torch.zeros(copied, device=device) for _ in range(2))
        copy_s = _least_s(lambda: target.copy_(source), device)
    finally:
        torch.set_num_threads(before)
    return Peak(2 * side**3 / product_s, 2 * source.nbytes / copy_s)


def _least_s(job: Callable[[], object], device: Device) -> float:
    """The shortest of ROUNDS times, after one that does not count."""
    import torch

    wait: Callable[[], None] = torch.cuda.synchronize if device == "cuda" else lambda: None
    took_s = []
    for _ in range(ROUNDS + 1):
        wait()
        began = time.perf_counter()
        job()
        wait()
        took_s.append(time.perf_counter() - began)
    return min(took_s[1:])

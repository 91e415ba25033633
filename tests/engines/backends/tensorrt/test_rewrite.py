"""Graphs for TensorRT say the same as those that they are made of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from engines.backends.onnx import OnnxBackend
from engines.backends.tensorrt.rewrite import for_tensorrt
from engines.bundle import Bundle
from tests.engines.backends.conftest import ITEMS
from tests.engines.examples import inputs, random_profiles

BATCH = 3


def scatter(width: int, updates: int, reduction: str) -> bytes:
    """``out`` = ScatterElements(data, at, given) along axis 1."""
    value = helper.make_tensor_value_info
    node = helper.make_node(
        "ScatterElements", ["data", "at", "given"], ["out"], axis=1, reduction=reduction
    )
    graph = helper.make_graph(
        [node],
        "scatter",
        [
            value("data", TensorProto.FLOAT, [BATCH, width]),
            value("at", TensorProto.INT64, [BATCH, updates]),
            value("given", TensorProto.FLOAT, [BATCH, updates]),
        ],
        [value("out", TensorProto.FLOAT, [BATCH, width])],
    )
    opset = helper.make_opsetid("", 18)
    return bytes(helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString())


def run(model: bytes, tensors: dict[str, NDArray[Any]]) -> Any:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, tensors)[0]


@settings(max_examples=60, deadline=None)
@given(width=st.integers(1, 9), updates=st.integers(1, 12), seed=st.integers(0, 99))
def test_a_sum_of_all_that_goes_to_a_place_is_written(width: int, updates: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    data = random.integers(-8, 8, (BATCH, width)).astype(np.float32)  # exact in any order
    data[0, 0] = -np.inf
    tensors = {
        "data": data,
        "at": random.integers(0, width, (BATCH, updates)),
        "given": random.integers(-8, 8, (BATCH, updates)).astype(np.float32),
    }
    model = scatter(width, updates, "add")
    assert np.array_equal(run(for_tensorrt(model), tensors), run(model, tensors))


@pytest.mark.parametrize(("width", "updates"), [(8, 4), (4, 8)])
def test_what_only_writes_is_padded_where_it_must_be(width: int, updates: int) -> None:
    random = np.random.default_rng(0)
    at = np.stack([random.permutation(width) for _ in range(BATCH)])[:, : min(width, updates)]
    at = np.concatenate([at, at[:, : updates - at.shape[1]]], axis=1)
    tensors = {
        "data": random.random((BATCH, width), np.float32),
        "at": at,
        "given": (at * 2).astype(np.float32),  # equal places, equal values
    }
    model = scatter(width, updates, "none")
    rewritten = for_tensorrt(model)
    assert np.array_equal(run(rewritten, tensors), run(model, tensors))
    kinds = [node.op_type for node in onnx.load_model_from_string(rewritten).graph.node]
    assert ("Concat" in kinds) == (updates > width)


def test_none_of_its_operators_adds(each: Bundle) -> None:
    graph = onnx.load_model_from_string(for_tensorrt(each.model)).graph
    scatters = [node for node in graph.node if node.op_type == "ScatterElements"]
    assert scatters
    reductions = [a.s for node in scatters for a in node.attribute if a.name == "reduction"]
    assert set(reductions) <= {b"none"}


def test_lists_stay_what_they_were(each: Bundle) -> None:
    tensors = inputs(random_profiles(200, ITEMS), each)
    with OnnxBackend(each) as backend:
        before = backend.run(tensors)
    with OnnxBackend(replace(each, model=for_tensorrt(each.model))) as backend:
        after = backend.run(tensors)
    np.testing.assert_allclose(after.scores, before.scores, rtol=1e-5, atol=1e-5)
    assert (after.items == before.items).mean() > 0.999  # apart from near ties

"""Two steps choose what one step chooses, ties included."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines.models.top_k import group_size, padded, top_k

BATCH = 3


def chosen(
    scores: NDArray[np.float32], k: int, nodes: list[Any] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """``scores`` and ``items`` of a graph that holds nothing but the choice."""
    width = scores.shape[1]
    made, constants = top_k("score", BATCH, width, k)
    whole = [BATCH, padded(width, k)]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes or made,
        "choice",
        [value("score", TensorProto.FLOAT, whole)],
        [
            value("scores", TensorProto.FLOAT, [BATCH, k]),
            value("items", TensorProto.INT64, [BATCH, k]),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    score = np.full(whole, -np.inf, np.float32)
    score[:, :width] = scores
    best, items = session.run(None, {"score": score})
    return best, items


def expected(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """By falling score, then rising index."""
    order: NDArray[np.int64] = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return order


@pytest.mark.parametrize("different", [2, 9, 10**6])  # scores: nearly all tie, some, none
@pytest.mark.parametrize("width", [10, 512, 513, 640, 2001, 5000])
@pytest.mark.parametrize("k", [1, 10])
def test_the_best_by_score_then_by_index(width: int, k: int, different: int) -> None:
    scores = np.random.default_rng(width + k).integers(0, different, (BATCH, width))
    ranks = expected(scores.astype(np.float32), k)
    best, items = chosen(scores.astype(np.float32), k)
    assert (items == ranks).all()
    assert (best == np.take_along_axis(scores, ranks, 1)).all()


@pytest.mark.parametrize("k", [2, 60, 150, 299, 300, 301, 599, 600])
def test_any_k_up_to_the_width(k: int) -> None:
    scores = np.random.default_rng(k).random((BATCH, 600), np.float32)
    assert (chosen(scores, k)[1] == expected(scores, k)).all()


def test_excluded_items_come_last() -> None:
    scores = np.full((BATCH, 1000), -np.inf, np.float32)
    scores[:, [3, 700]] = 1, 2
    best, items = chosen(scores, 5)
    assert items[:, :2].tolist() == [[700, 3]] * BATCH
    assert np.isneginf(best[:, 2:]).all()
    assert (items == expected(scores, 5)).all()  # no pad, though it scores the same


def test_negative_control_without_the_order_of_groups_ties_go_astray() -> None:
    scores = np.random.default_rng(0).integers(0, 20, (BATCH, 2001)).astype(np.float32)
    scores[:, 1500] = 100  # its group is the best, and its other items tie with earlier ones
    nodes, _ = top_k("score", BATCH, 2001, 10)
    [order] = [node for node in nodes if node.output[0] == "group"]
    unordered = [node for node in nodes if node is not order]
    for node in unordered:
        node.input[:] = ["best_groups" if name == "group" else name for name in node.input]
    assert (chosen(scores, 10)[1] == expected(scores, 10)).all()
    assert (chosen(scores, 10, unordered)[1] != expected(scores, 10)).any()


def test_groups_are_at_least_k() -> None:
    for width in (513, 600, 2001, 12_101, 1_000_000):
        for k in (1, 7, 10, 100, width // 3, width // 2, width):
            assert padded(width, k) // group_size(width, k) >= k

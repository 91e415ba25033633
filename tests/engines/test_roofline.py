"""FLOP and bytes of a graph that is small enough to count them by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engines.roofline import Peak, Work, measured_peak, work_of
from tests.engines.backends.conftest import opened
from tests.engines.examples import scorer, scorer_draft

node = helper.make_node
FRAME_BYTES = 3 * 8 + 8 + 5 * 4
"""Constants of `scorer`: where to cut, k, and the mask."""
GIVEN_BYTES = 2 * 50 * 8 + 2 * 3 * (4 + 8 + 8)
"""Inputs and outputs of two users."""


def test_products_are_counted_exactly(tmp_path: Path) -> None:
    constants = {
        "up": np.ones((5, 7), np.float32),
        "down": np.ones((5, 7), np.float32),
        "bias": np.ones(5, np.float32),
    }
    nodes = [
        node("MatMul", ["start", "up"], ["wide"]),  # [2, 5] x [5, 7]
        node("Gemm", ["wide", "down", "bias"], ["x"], transB=1),  # [2, 7] x [7, 5]
    ]
    bundle = opened(tmp_path, scorer_draft(scorer(nodes, constants=constants)))
    weights_bytes = 4 * (35 + 35 + 5)
    assert work_of(bundle) == Work(
        flop=2 * 2 * 5 * 7 + 2 * 2 * 7 * 5,
        moved_bytes=FRAME_BYTES + GIVEN_BYTES + weights_bytes,
    )


def test_a_first_factor_that_is_transposed_is_counted_by_its_rows(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", ["start"], ["turned"], perm=[1, 0]),
        node("Gemm", ["turned", "square"], ["x"], transA=1),  # [2, 5] x [5, 5]
    ]
    constants = {"square": np.ones((5, 5), np.float32)}
    bundle = opened(tmp_path, scorer_draft(scorer(nodes, constants=constants)))
    assert work_of(bundle).flop == 2 * 2 * 5 * 5


@pytest.mark.parametrize("rows", [1_000, 3])
def test_of_a_constant_that_is_gathered_from_rows_are_read(tmp_path: Path, rows: int) -> None:
    constants = {"table": np.ones((rows, 5), np.float32), "first": np.array([0, 1, 1, 0])}
    nodes = [
        node("Gather", ["table", "first"], ["four"], axis=0),
        node("Slice", ["four", "from_0", "to_2", "axis_0"], ["two"]),
        node("Mul", ["start", "two"], ["x"]),
    ]
    constants |= {"from_0": np.array([0]), "to_2": np.array([2]), "axis_0": np.array([0])}
    bundle = opened(tmp_path, scorer_draft(scorer(nodes, constants=constants)))
    table_bytes = 4 * min(4 * 5, rows * 5)
    assert work_of(bundle).moved_bytes == FRAME_BYTES + GIVEN_BYTES + 4 * 8 + 3 * 8 + table_bytes


def test_all_of_a_table_that_is_multiplied_is_read(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["start", "square"], ["x"])]
    model = onnx.load_model_from_string(scorer(nodes))
    table = np.ones((5, 5), np.float32)
    model.graph.input.append(helper.make_tensor_value_info("square", TensorProto.FLOAT, [5, 5]))
    draft = scorer_draft(model.SerializeToString())
    bundle = opened(tmp_path, replace(draft, tables={"square": table}))
    assert work_of(bundle) == Work(2 * 2 * 5 * 5, FRAME_BYTES + GIVEN_BYTES + table.nbytes)


def test_the_roofline_is_the_slower_of_computing_and_moving() -> None:
    peak = Peak(flop_per_s=1e9, bytes_per_s=1e6)
    assert peak.least_ms(Work(flop=2_000_000, moved_bytes=1_000)) == 2.0
    assert peak.least_ms(Work(flop=2_000_000, moved_bytes=9_000)) == 9.0


def test_the_peak_of_this_processor_is_measured_once() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    peak = measured_peak("cpu", 1)
    assert peak
    assert 1e8 < peak.bytes_per_s < 1e13
    assert 1e8 < peak.flop_per_s < 1e15
    assert measured_peak("cpu", 1) is peak
    assert torch.get_num_threads() == before


def test_a_device_that_is_not_here_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert measured_peak.__wrapped__("cuda", 1) is None

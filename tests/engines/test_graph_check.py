"""What a graph may hold. Each refusal stands beside a near twin that is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engines.bundle import Bundle
from engines.draft import write_bundle
from schemas.errors import BundleRefused
from tests.engines.examples import scorer, scorer_draft

node = helper.make_node
SUM = node("Add", ["start", "start"], ["x"])
AXES = {"rows": np.array([0]), "columns": np.array([1]), "also_rows": np.array([-2])}


def opened(folder: Path, model: bytes) -> Bundle:
    write_bundle(folder / "bundle", scorer_draft(model), "test", "1")
    return Bundle.open(folder / "bundle")


def reduced(kind: str, *inputs: str, **attributes: Any) -> list[onnx.NodeProto]:
    return [
        node(kind, ["start", *inputs], ["scale"], keepdims=1, **attributes),
        node("Add", ["start", "scale"], ["x"]),
    ]


TAKEN = {
    "a sum": [SUM],
    "the largest of a row": reduced("ReduceMax", "columns"),
    "softmax of a row": [node("Softmax", ["start"], ["x"], axis=-1)],
    "running sum of a row": [node("CumSum", ["start", "axis"], ["x"])],
    "axes in a constant node": [
        node("Constant", [], ["found"], value=onnx.numpy_helper.from_array(np.array([1]))),
        *reduced("ReduceMax", "found"),
    ],
    "nothing reduced": reduced("ReduceMax", noop_with_empty_axes=1),
}

MIXING = {
    "the largest of all": reduced("ReduceMax"),
    "the largest along the batch": reduced("ReduceMax", "rows"),
    "... counted from the end": reduced("ReduceMax", "also_rows"),
    "... along axes that are not constant": [
        node("Identity", ["rows"], ["computed"]),
        *reduced("ReduceMax", "computed"),
    ],
    "softmax along the batch": [node("Softmax", ["start"], ["x"], axis=0)],
    "softmax along the batch, counted from the end": [node("Softmax", ["start"], ["x"], axis=-2)],
    "running sum along the batch": [node("CumSum", ["start", "from_0"], ["x"])],
    "a scale over the whole batch": [
        node("DynamicQuantizeLinear", ["start"], ["small", "scale", "zero"]),
        node("DequantizeLinear", ["small", "scale", "zero"], ["x"]),
    ],
    "normalisation over the whole batch": [
        node("LayerNormalization", ["start", "ones"], ["x"], axis=0)
    ],
}


@pytest.mark.parametrize("nodes", TAKEN.values(), ids=TAKEN)
def test_rows_apart_are_taken(tmp_path: Path, nodes: list[onnx.NodeProto]) -> None:
    assert opened(tmp_path, scorer(nodes, constants=AXES)).label == "test@1"


@pytest.mark.parametrize("nodes", MIXING.values(), ids=MIXING)
def test_operators_that_mix_rows_are_refused(tmp_path: Path, nodes: list[onnx.NodeProto]) -> None:
    constants = {**AXES, "from_0": np.array(0), "ones": np.ones((2, 5), np.float32)}
    with pytest.raises(BundleRefused, match="mixes the rows of a batch"):
        opened(tmp_path, scorer(nodes, constants=constants))


def branch(inner: onnx.NodeProto) -> list[onnx.NodeProto]:
    """An If whose branches hold ``inner``, which makes "y"."""
    shape = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 5])
    graphs = [helper.make_graph([inner], name, [], [shape]) for name in ("yes", "no")]
    return [node("If", ["always"], ["x"], then_branch=graphs[0], else_branch=graphs[1])]


@pytest.mark.parametrize(("axis", "taken"), [(1, True), (0, False)])
def test_subgraphs_are_searched_too(tmp_path: Path, axis: int, taken: bool) -> None:
    model = scorer(
        branch(node("Softmax", ["start"], ["y"], axis=axis)), constants={"always": np.array(True)}
    )
    if taken:
        opened(tmp_path, model)
    else:
        with pytest.raises(BundleRefused, match="mixes the rows"):
            opened(tmp_path, model)


def test_custom_operators_are_refused(tmp_path: Path) -> None:
    custom = node("Gelu", ["start"], ["x"], domain="com.microsoft")
    with pytest.raises(BundleRefused, match=r"custom operator[\s\S]*com\.microsoft\.Gelu"):
        opened(tmp_path, scorer([custom], domains=("", "com.microsoft")))


def test_custom_operators_in_a_subgraph_are_refused(tmp_path: Path) -> None:
    custom = node("Gelu", ["start"], ["y"], domain="com.microsoft")
    model = scorer(
        branch(custom), constants={"always": np.array(True)}, domains=("", "com.microsoft")
    )
    with pytest.raises(BundleRefused, match="custom operator"):
        opened(tmp_path, model)


def test_unknown_operators_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleRefused, match=r"not sound[\s\S]*NoSuchOperator"):
        opened(tmp_path, scorer([node("NoSuchOperator", ["start"], ["x"])]))


def test_operators_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    nodes = [node("Add", ["start", "three"], ["x"])]
    with pytest.raises(BundleRefused, match="is not sound"):
        opened(tmp_path, scorer(nodes, constants={"three": np.ones(3, np.float32)}))


def test_operators_defined_in_the_file_are_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(scorer([SUM]))
    body = [node("Neg", ["a"], ["b"])]
    model.functions.append(
        helper.make_function("", "Mine", ["a"], ["b"], body, [helper.make_opsetid("", 18)])
    )
    with pytest.raises(BundleRefused, match=r"defines operators[\s\S]*Mine"):
        opened(tmp_path, model.SerializeToString())


def test_randomness_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleRefused, match="is random"):
        opened(tmp_path, scorer([node("RandomUniformLike", ["start"], ["x"])]))


def test_external_data_is_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(scorer([SUM]))
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")
    tensor.ClearField("raw_data")
    with pytest.raises(BundleRefused, match="reads data outside itself"):
        opened(tmp_path, model.SerializeToString())


def test_external_data_of_a_constant_node_is_refused(tmp_path: Path) -> None:
    tensor = onnx.numpy_helper.from_array(np.ones((2, 5), np.float32), "weights")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    model = scorer([node("Constant", [], ["x"], value=tensor)])
    with pytest.raises(BundleRefused, match="reads data outside itself"):
        opened(tmp_path, model)


@pytest.mark.parametrize("data", [b"not a protobuf at all", b"\xff" * 64])
def test_what_is_no_model_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BundleRefused):
        opened(tmp_path, data)


def test_a_model_of_another_width_is_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(scorer([SUM]))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 49
    with pytest.raises(BundleRefused, match="other inputs than the manifest says"):
        opened(tmp_path, model.SerializeToString())


def test_a_model_with_a_free_batch_size_is_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(scorer([SUM]))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    with pytest.raises(BundleRefused, match="other inputs than the manifest says"):
        opened(tmp_path, model.SerializeToString())


def test_a_model_of_another_type_is_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(scorer([SUM]))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    with pytest.raises(BundleRefused, match="other outputs than the manifest says"):
        opened(tmp_path, model.SerializeToString())

"""Plans that TensorRT-RTX really builds, without a GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engines.backends.tensorrt import build as building
from engines.backends.tensorrt.build import MAX_K, build, builder
from engines.bundle import Bundle
from engines.compress.steps import STEPS, compressed
from engines.manifest import MODEL
from schemas.errors import EngineError
from tests.engines.backends.conftest import ITEMS, opened
from tests.engines.backends.tensorrt.fake_gpu import GPU, package
from tests.engines.examples import (
    VALUES,
    inputs,
    random_model,
    random_profiles,
    scorer,
    scorer_draft,
)

tensorrt_rtx = pytest.importorskip("tensorrt_rtx", reason="the extra rtx builds plans")
node = helper.make_node


def quiet(stage: str, done: int, whole: int) -> None:
    pass


def built(bundle: Bundle, folder: Path, told: Callable[[str, int, int], None] = quiet) -> Any:
    return build(bundle, *builder(), folder, told)


def test_every_model_builds(tmp_path: Path, each: Bundle) -> None:
    said: list[tuple[int, int]] = []
    plan, data = built(each, tmp_path, lambda stage, done, whole: said.append((done, whole)))
    assert plan.file == "model.portable.plan"
    assert (plan.flavour, plan.version) == ("tensorrt_rtx", tensorrt_rtx.__version__)
    assert plan.driver is None
    assert plan.onnx_sha256 == each.manifest.files[MODEL].sha256
    assert len(data) > 100_000
    assert said
    assert all(0 <= done <= whole for done, whole in said)


def test_every_compressed_model_builds(tmp_path: Path, each: Bundle) -> None:
    steps = [name for name, step in STEPS.items() if step.fits(each)]
    assert bool(steps) == (each.manifest.model != "cooccurrence")
    tensors = inputs(random_profiles(16, ITEMS), each)
    for step in steps:
        smaller = opened(tmp_path, compressed(each, step, [tensors], VALUES.get(step, "")))
        _, data = built(smaller, tmp_path)
        assert len(data) > 100_000, step


@pytest.mark.parametrize("step", ["", "fp16", "int8"])
def test_an_encoder_builds(tmp_path: Path, encoding: Bundle, step: str) -> None:
    bundle = encoding
    if step:
        tensors = inputs(random_profiles(16, ITEMS), encoding)
        bundle = opened(tmp_path, compressed(encoding, step, [tensors]))
    built(bundle, tmp_path)


def test_a_catalogue_of_groups_builds(tmp_path: Path) -> None:
    """More items than one TopK goes over."""
    bundle = opened(tmp_path, random_model(2000).draft(batch=4))
    kinds = [n.op_type for n in onnx.load_model_from_string(bundle.model).graph.node]
    assert kinds.count("TopK") == 3
    built(bundle, tmp_path)


def test_without_the_rewriting_the_same_is_refused(
    tmp_path: Path, cooccurrence: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of `rewrite`, and an operator that the parser does not name."""
    monkeypatch.setattr(building, "for_tensorrt", lambda data: data)
    with pytest.raises(EngineError, match=r"received: ScatterElements: .*reduction"):
        built(cooccurrence, tmp_path)


def test_tables_stay_inputs(tmp_path: Path, content: Bundle) -> None:
    """A plan holds no number of them, so it is no larger for a larger catalogue's."""
    zeros = {name: np.zeros_like(table) for name, table in content.tables.items()}
    one = built(content, tmp_path)[1]
    other = built(replace(content, tables=zeros), tmp_path)[1]
    assert len(one) == len(other)
    assert content.tables["item_vectors"][1].tobytes() not in one


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_types_are_those_of_the_graph(tmp_path: Path, kind: int) -> None:
    nodes = [
        node("Cast", ["start"], ["half"], to=kind),
        node("Mul", ["half", "half"], ["square"]),
        node("Cast", ["square"], ["x"], to=TensorProto.FLOAT),
    ]
    built(opened(tmp_path, scorer_draft(scorer(nodes))), tmp_path)


@pytest.mark.parametrize("dtype", [np.dtype(np.int8), ml_dtypes.float8_e4m3fn])
def test_quantised_graphs_build(tmp_path: Path, dtype: Any) -> None:
    constants = {
        "weight": np.eye(5, dtype=np.float32),
        "scale": np.array(0.05, np.float32),
        "zero": np.zeros((), dtype),
    }
    nodes = [
        node("QuantizeLinear", ["start", "scale", "zero"], ["start_q"]),
        node("DequantizeLinear", ["start_q", "scale", "zero"], ["start_d"]),
        node("QuantizeLinear", ["weight", "scale", "zero"], ["weight_q"]),
        node("DequantizeLinear", ["weight_q", "scale", "zero"], ["weight_d"]),
        node("MatMul", ["start_d", "weight_d"], ["x"]),
    ]
    model = scorer(nodes, constants=constants)
    built(opened(tmp_path, scorer_draft(model)), tmp_path)


def test_operators_that_tensorrt_lacks_are_named(tmp_path: Path) -> None:
    nodes = [
        node("Cast", ["start"], ["whole"], to=TensorProto.UINT64),
        node("BitShift", ["whole", "whole"], ["shifted"], direction="LEFT", name="shift"),
        node("Cast", ["shifted"], ["x"], to=TensorProto.FLOAT),
    ]
    bundle = opened(tmp_path, scorer_draft(scorer(nodes)))
    match = r"build test@1: it lacks ONNX operators, or forms of them\n  expected: [\s\S]*" \
        r"received: Cast: .*data type.*; BitShift shift\n  fix: "  # fmt: skip
    with pytest.raises(EngineError, match=match):
        built(bundle, tmp_path)


@pytest.mark.parametrize("k", [MAX_K, MAX_K + 1])
def test_a_top_k_beyond_the_limit_is_refused_before_a_build(tmp_path: Path, k: int) -> None:
    items = MAX_K + 100
    bundle = opened(tmp_path, random_model(items, users=2).draft(batch=1, k=k))
    if k == MAX_K:
        built(bundle, tmp_path)
        return
    with pytest.raises(EngineError, match=r"finds too many[\s\S]*3840[\s\S]*received: 3841"):
        build(bundle, package(), GPU, tmp_path, quiet)  # a package that can do nothing


def test_a_build_that_fails_tells_why(
    tmp_path: Path, cooccurrence: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "MAX_K", 1 << 30)
    bundle = opened(tmp_path, random_model(MAX_K + 100, users=2).draft(batch=1, k=MAX_K + 1))
    with pytest.raises(EngineError, match=r"cannot build test@1\n[\s\S]*received: (?!no reason)"):
        built(bundle, tmp_path)


def test_the_package_for_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, portable = package(), package("tensorrt_rtx")

    def choose(packages: list[Any], gpu: Any) -> Any:
        def find() -> Any:
            if gpu is None:
                raise EngineError("there is no NVIDIA driver")
            return gpu

        monkeypatch.setattr(building, "installed", lambda: packages)
        monkeypatch.setattr(building, "find_gpu", find)
        return builder()

    assert choose([ours, portable], GPU) == (ours, GPU)
    assert choose([ours, portable], None) == (portable, None)
    assert choose([portable], GPU) == (portable, None)
    with pytest.raises(EngineError, match="no NVIDIA driver"):
        choose([ours], None)

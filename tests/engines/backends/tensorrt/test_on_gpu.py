"""What only a GPU can tell: ``make gpu-test`` on a machine that has one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from engines.backends.base import RankedBatch
from engines.backends.onnx import OnnxBackend
from engines.backends.tensorrt.build import build, builder
from engines.backends.tensorrt.gpu import find_gpu
from engines.backends.tensorrt.memory import Device
from engines.backends.tensorrt.runner import TensorrtBackend
from engines.bundle import Bundle
from engines.draft import draft_of
from schemas.errors import EngineError
from tests.engines.backends.conftest import ITEMS, opened, rows
from tests.engines.examples import inputs, random_profiles, scorer, scorer_draft

NEAR = 1e-4
"""Scores that are no further apart may change places between two runtimes."""


def missing() -> str:
    """What keeps a plan from being run here; empty if nothing does."""
    try:
        find_gpu()
        builder()
        Device().close()
    except EngineError as error:
        return f"{error.message}: {error.received}"
    return ""


@pytest.fixture(autouse=True, scope="session")
def on_a_gpu() -> None:
    """Comes before engines are exported for nothing."""
    if reason := missing():
        pytest.skip(f"needs a GPU: {reason}")


pytestmark = pytest.mark.gpu


def with_plan(bundle: Bundle, folder: Path) -> Bundle:
    plan = build(bundle, *builder(), folder, lambda stage, done, whole: None)
    return opened(folder, replace(draft_of(bundle), plans=(plan,)))


@pytest.fixture(scope="module")
def planned(each: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Each model, with a plan for this GPU."""
    return with_plan(each, tmp_path_factory.mktemp("store"))


def widest_swap(ours: RankedBatch, theirs: RankedBatch) -> float:
    """Largest difference of score between the items in one place of the two runtimes' lists."""
    moved = ours.items != theirs.items
    apart = np.abs(ours.scores[moved] - theirs.scores[moved])
    return float(apart.max(initial=0.0))


def test_lists_are_those_of_onnx_runtime_apart_from_near_ties(planned: Bundle) -> None:
    tensors = inputs(random_profiles(2_000, ITEMS), planned)
    with OnnxBackend(planned) as backend:
        theirs = backend.run(tensors)
    with TensorrtBackend(planned) as backend:
        backend.warm_up()
        ours = backend.run(tensors)
    np.testing.assert_allclose(ours.scores, theirs.scores, rtol=NEAR, atol=NEAR)
    assert widest_swap(ours, theirs) <= NEAR


def test_a_list_is_the_same_in_any_order_and_company(planned: Bundle) -> None:
    tensors = inputs(random_profiles(2_000, ITEMS), planned)
    order = np.random.default_rng(1).permutation(2_000)
    with TensorrtBackend(planned) as backend:
        straight = rows(backend.run(tensors))
        shuffled = rows(backend.run({name: value[order] for name, value in tensors.items()}))
    with TensorrtBackend(planned) as backend:
        again = rows(backend.run(tensors))
    assert [straight[place] for place in order] == shuffled
    assert straight == again


def test_a_tie_goes_to_the_lower_item(tmp_path: Path) -> None:
    nodes = [helper.make_node("Mul", ["start", "none"], ["x"])]
    model = scorer(nodes, items=40, batch=8, constants={"none": np.zeros(1, np.float32)})
    bundle = with_plan(opened(tmp_path, scorer_draft(model, 40, 8)), tmp_path)
    with TensorrtBackend(bundle) as backend:
        ranked = backend.run(inputs(random_profiles(8, 40), bundle))
    assert (ranked.items == [1, 2, 3]).all()


def test_other_tables_take_the_same_plan(tmp_path: Path, content: Bundle) -> None:
    bundle = with_plan(content, tmp_path)
    vectors = np.roll(bundle.tables["item_vectors"], 1, axis=0)
    tables = {**bundle.tables, "item_vectors": vectors}
    other = opened(tmp_path, replace(draft_of(bundle), tables=tables))
    tensors = inputs(random_profiles(200, ITEMS), other)
    with OnnxBackend(other) as backend:
        theirs = backend.run(tensors)
    with TensorrtBackend(other) as backend:
        ours = backend.run(tensors)
    np.testing.assert_allclose(ours.scores, theirs.scores, rtol=NEAR, atol=NEAR)


def test_memory_is_given_back(content: Bundle, tmp_path: Path) -> None:
    from pycuda import driver

    bundle = with_plan(content, tmp_path)
    device = Device()
    free = []
    for _ in range(5):
        with TensorrtBackend(bundle) as backend:
            backend.warm_up()
        with device.current():
            free.append(driver.mem_get_info()[0])
    device.close()
    assert free[-1] >= free[1]  # the first run loads what stays for the life of the process

"""What only a GPU can tell: ``make gpu-test`` on a machine that has one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from typer.testing import CliRunner

from engines.backends.onnx import OnnxBackend
from engines.backends.tensorrt.build import build, builder
from engines.backends.tensorrt.gpu import find_gpu
from engines.backends.tensorrt.memory import Device
from engines.backends.tensorrt.runner import TensorrtBackend
from engines.backends.torch_ import TorchBackend
from engines.bundle import Bundle
from engines.compress.steps import compressed
from engines.draft import draft_of
from engines.parity import parity
from pipeline.cli import app
from schemas.errors import EngineError
from tests.engines.backends.conftest import ITEMS, opened, rows
from tests.engines.examples import inputs, random_profiles, random_sasrec, scorer, scorer_draft

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


@pytest.fixture(scope="module")
def sasrec(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Without a plan."""
    return opened(tmp_path_factory.mktemp("store"), random_sasrec(ITEMS).draft(batch=16))


@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "no graphs"])
def test_lists_are_those_of_onnx_runtime_apart_from_near_ties(
    planned: Bundle, graphs: bool
) -> None:
    tensors = inputs(random_profiles(2_000, ITEMS), planned)
    with OnnxBackend(planned) as backend:
        theirs = backend.run(tensors)
    with TensorrtBackend(planned, graphs=graphs) as backend:
        backend.warm_up()
        ours = backend.run(tensors)
    np.testing.assert_allclose(ours.scores, theirs.scores, rtol=NEAR, atol=NEAR)
    assert parity(ours, theirs).widest_gap <= NEAR


def test_graphs_change_no_byte(planned: Bundle) -> None:
    tensors = inputs(random_profiles(200, ITEMS), planned)
    found = []
    for graphs in (True, False):
        backend = TensorrtBackend(planned, graphs=graphs)
        assert backend.graphs == graphs
        with backend:
            found.append(rows(backend.run(tensors)))
    assert found[0] == found[1]


@pytest.mark.parametrize("compiled", [False, True], ids=["as it is", "compiled"])
def test_the_reference_makes_the_same_lists_on_the_gpu(
    sasrec: Bundle, tmp_path: Path, compiled: bool
) -> None:
    bundle = with_plan(sasrec, tmp_path)
    tensors = inputs(random_profiles(500, ITEMS), bundle)
    reference = TorchBackend(bundle, compiled=compiled)
    if reference.device != "cuda":
        pytest.skip("needs a PyTorch that was built for CUDA")
    with reference:
        reference.warm_up()
        theirs = reference.run(tensors)
    with TensorrtBackend(bundle) as backend:
        ours = backend.run(tensors)
    np.testing.assert_allclose(ours.scores, theirs.scores, rtol=NEAR, atol=NEAR)
    assert parity(ours, theirs).widest_gap <= NEAR


@pytest.mark.parametrize(("step", "gap", "equal_lists"), [("fp16", 0.1, 0.8), ("int8", 1.0, 0.3)])
def test_a_compressed_engine_lists_nearly_what_its_parent_does(
    sasrec: Bundle, tmp_path: Path, step: str, gap: float, equal_lists: float
) -> None:
    """Scores have a range of some 40. The bounds are guesses: no GPU has told yet."""
    tensors = inputs(random_profiles(512, ITEMS), sasrec)
    shown = [{name: value[:16] for name, value in tensors.items()}]
    smaller = with_plan(opened(tmp_path, compressed(sasrec, step, shown)), tmp_path)
    with OnnxBackend(sasrec) as backend:
        theirs = backend.run(tensors)
    with TensorrtBackend(smaller) as backend:
        backend.warm_up()
        found = parity(backend.run(tensors), theirs)
    assert found.widest_gap <= gap, found
    assert found.equal_lists >= equal_lists, found


@pytest.mark.timeout(1200)  # six plans are built, and four modules compiled
def test_the_bench_has_figures_of_every_runtime(tmp_path: Path) -> None:
    runtimes = "torch,torch-compiled,onnx,tensorrt,tensorrt-no-graphs"
    words = ["bench", "engine", "--runtime", runtimes, "--model", "sasrec", "--items", "300"]
    words += ["--batch", "1,16", "--precision", "fp32,fp16,int8", "--json"]
    done = CliRunner().invoke(app, [*words, "--set", f"engine.store={tmp_path}"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout.splitlines()[-1])["engines"]
    assert len(told) == 2 * 3 * 5
    without = [row for row in told if row["missing"]]
    assert {(row["runtime"].partition("-")[0], row["precision"]) for row in without} == {
        ("torch", "float16"),
        ("torch", "int8"),
    }
    close = [row for row in told if row["compared_with"] and row["precision"] == "float32"]
    assert all(row["widest_gap"] <= NEAR for row in close)


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

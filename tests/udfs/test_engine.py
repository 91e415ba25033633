"""A worker's engine on a GPU that fails: the same lists from the CPU, and they say so."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from engines.active import Active
from engines.backends.onnx import OnnxBackend
from engines.backends.tensorrt import runner
from engines.bundle import Bundle
from engines.registry import Registry
from schemas import codec
from schemas.errors import BundleRefused, EngineError
from tests.engines.backends.tensorrt.fake_gpu import GPU, FakeGpu, planned
from tests.engines.examples import random_model, random_profiles, scorer, scorer_draft
from tests.udfs.requests import packed_request
from udfs.engine import Engine, EngineSettings
from udfs.request import Requests

LIST = "recommendation_list"
ITEMS = 20
USERS = [f"user-{row}" for row in range(20)]
REQUESTS = Requests.unpack(
    [packed_request(profile.tobytes()) for profile in random_profiles(20, ITEMS)]
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """With ``plain``, and ``shop``, the same with a plan for the fake GPU."""
    store = Registry(tmp_path_factory.mktemp("store"))
    plain = store.add(random_model(ITEMS).draft(batch=8, k=5), "plain")
    store.add(planned(plain), "shop")
    return store


def opened(store: Registry, name: str = "shop", backend: str = "auto") -> Engine:
    active = store.activate(name, force=True)
    return Engine(active, EngineSettings(store.store, 1, 7, codec.header(LIST), backend))


def ranked(engine: Engine) -> list[dict[str, Any]]:
    """The lists of a batch."""
    values = engine.encode(USERS, REQUESTS, engine.rank(REQUESTS))
    return [codec.decode(LIST, value) for value in values]


def contents(lists: list[dict[str, Any]]) -> list[Any]:
    return [one["items"] for one in lists]


def levels(lists: list[dict[str, Any]]) -> set[int]:
    return {one["degrade_level"] for one in lists}


@contextmanager
def on(monkeypatch: pytest.MonkeyPatch, machine: FakeGpu, **changes: Any) -> Iterator[FakeGpu]:
    """What is opened inside finds this GPU; all that it took is given back at the end."""
    monkeypatch.setattr(runner, "THIS_MACHINE", machine.hardware(**changes))
    yield machine
    assert (machine.memory, machine.open, machine.current, machine.graphs) == ({}, 0, 0, 0)


@pytest.fixture(scope="module")
def wanted(store: Registry) -> list[Any]:
    """The lists that all are to be."""
    return contents(ranked(opened(store, "plain")))


def test_a_gpu_that_works_makes_full_lists(
    store: Registry, wanted: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with on(monkeypatch, FakeGpu()) as gpu:
        engine = opened(store)
        lists = ranked(engine)
        engine.close()
    assert gpu.log
    assert levels(lists) == {0}
    assert contents(lists) == wanted


@pytest.mark.parametrize("backend", ["auto", "onnx"])
def test_without_a_fitting_plan_the_cpu_is_the_full_engine(
    store: Registry, wanted: list[Any], monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    other = replace(GPU, name="NVIDIA Test 9001")
    with on(monkeypatch, FakeGpu(), gpu=lambda: other) as gpu:
        lists = ranked(opened(store, backend=backend))
        with pytest.raises(EngineError, match=r"no plan of shop@1 fits this machine"):
            opened(store, backend="tensorrt")
    assert not gpu.loaded
    assert levels(lists) == {0}
    assert contents(lists) == wanted


@pytest.mark.parametrize("backend", ["auto", "tensorrt"])
@pytest.mark.parametrize("room", range(6))  # the tensors of one slot, of an engine without tables
def test_out_of_memory_at_the_start(
    store: Registry,
    wanted: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    room: int,
    backend: str,
) -> None:
    with on(monkeypatch, FakeGpu(room=room)):
        engine = opened(store, backend=backend)
        lists = ranked(engine)
        engine.close()
    assert levels(lists) == {1}
    assert contents(lists) == wanted
    assert "shop@1 goes on on the CPU: the GPU is out of memory" in caplog.text


FAULTS: dict[str, dict[str, Any]] = {
    "the driver is lost": {"launches": 0},
    "NaN": {"scores": lambda scores: np.full_like(scores, np.nan)},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_gpu_that_fails_later(
    store: Registry, wanted: list[Any], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    with on(monkeypatch, FakeGpu(), bindings=lambda: None) as gpu:
        engine = opened(store)
        before = ranked(engine)
        for name, value in FAULTS[fault].items():
            setattr(gpu, name, value)
        failing, after = ranked(engine), ranked(engine)
        engine.close()
    assert [levels(lists) for lists in (before, failing, after)] == [{0}, {1}, {1}]
    assert contents(before) == contents(failing) == contents(after) == wanted
    cpu = OnnxBackend(store.open("shop")).runtime_digest
    assert {one["runtime"] for one in failing} == {cpu}
    assert {one["runtime"] for one in before} != {cpu}


def test_a_gpu_that_cannot_be_left_does_not_matter(
    store: Registry,
    wanted: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def lost(backend: Any) -> None:
        raise EngineError("the GPU failed", received="LogicError: context is destroyed")

    gpu = FakeGpu()
    monkeypatch.setattr(runner, "THIS_MACHINE", gpu.hardware(bindings=lambda: None))
    engine = opened(store)
    gpu.launches = 0
    monkeypatch.setattr(runner.TensorrtBackend, "_deactivate_impl", lost)
    assert contents(ranked(engine)) == wanted
    assert "shop@1 cannot leave the GPU" in caplog.text


def test_where_the_cpu_fails_too_the_gpu_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Weights that make NaN of some profiles are not the GPU's fault."""
    store = Registry(tmp_path)
    node = helper.make_node
    model = scorer([node("Log", ["start"], ["log"]), node("Mul", ["log", "start"], ["x"])])
    store.add(planned(store.add(scorer_draft(model), "plain")), "shop")
    caplog.set_level(logging.WARNING)
    with on(monkeypatch, FakeGpu()):
        active = store.activate("shop", force=True)
        settings = EngineSettings(store.store, 1, 7, codec.header(LIST))
        monkeypatch.setattr(OnnxBackend, "warm_up", lambda backend: None)
        monkeypatch.setattr(runner.TensorrtBackend, "warm_up", lambda backend: None)
        engine = Engine(active, settings)
        for _ in range(3):
            with pytest.raises(EngineError, match="not numbers"):
                engine.rank(REQUESTS)
        assert engine.degrade_level == 0
        engine.close()
    assert not caplog.text


def test_a_model_of_nan_is_opened_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Registry(tmp_path)
    model = scorer([helper.make_node("Sub", ["start", "start"], ["none"]),
                    helper.make_node("Div", ["none", "none"], ["x"])])  # fmt: skip
    store.add(planned(store.add(scorer_draft(model), "plain")), "shop")
    with on(monkeypatch, FakeGpu()), pytest.raises(EngineError, match="not numbers"):
        opened(store)


def corrupt(bundle: Bundle) -> Active:
    """Flip one bit of the plan of a bundle; returns it as active."""
    [plan] = bundle.manifest.plans
    path = bundle.folder / plan.file
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    return Active(
        name=bundle.manifest.name,
        version=bundle.manifest.version,
        manifest_sha256=bundle.digest.hex(),
        engine_seq=1,
        activated_at="",
    )


@pytest.mark.parametrize("backend", ["auto", "onnx", "tensorrt"])
def test_a_corrupt_plan_is_never_loaded(
    tmp_path: Path, store: Registry, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    own = Registry(tmp_path)
    active = corrupt(own.add(planned(store.open("plain")), "shop"))
    settings = EngineSettings(own.store, 1, 7, codec.header(LIST), backend)
    with on(monkeypatch, FakeGpu()) as gpu, pytest.raises(BundleRefused, match=r"plan[\s\S]*SHA"):
        Engine(active, settings)
    assert not gpu.loaded

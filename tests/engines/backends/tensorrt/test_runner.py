"""The life of the backend on a GPU that is none: lists byte for byte, and every way to fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.backends import open_backend
from engines.backends.onnx import OnnxBackend
from engines.backends.tensorrt import runner
from engines.backends.tensorrt.runner import TensorrtBackend
from engines.bundle import Bundle
from engines.draft import draft_of
from engines.registry import Registry
from schemas.errors import EngineError, GpuMemoryError
from tests.engines.backends.conftest import ITEMS, opened, rows
from tests.engines.backends.tensorrt.fake_gpu import (
    GPU,
    Bindings,
    FakeGpu,
    package,
    planned,
)
from tests.engines.examples import inputs, random_profiles


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, content: Bundle) -> Bundle:
    """With tables, and a plan for the fake GPU."""
    return opened(tmp_path_factory.mktemp("store"), planned(content))


def lists_on_the_cpu(bundle: Bundle, tensors: dict[str, Any]) -> list[bytes]:
    with OnnxBackend(bundle) as backend:
        return rows(backend.run(tensors))


@pytest.mark.parametrize("n", [0, 1, 16, 17, 48, 163])
def test_any_number_of_rows_gives_the_lists_of_the_program(bundle: Bundle, n: int) -> None:
    tensors = inputs(random_profiles(n, ITEMS), bundle)
    gpu = FakeGpu()
    with TensorrtBackend(bundle, hardware=gpu.hardware()) as backend:
        backend.warm_up()
        assert rows(backend.run(tensors)) == lists_on_the_cpu(bundle, tensors)
    assert gpu.loaded == [b"a plan"]
    assert (gpu.memory, gpu.open, gpu.current, gpu.graphs) == ({}, 0, 0, 0)


def test_a_buffer_that_is_not_waited_for_is_noticed(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: without a wait the fake GPU has not done anything yet."""
    tensors = inputs(random_profiles(48, ITEMS), bundle)
    with TensorrtBackend(bundle, hardware=FakeGpu().hardware()) as backend:
        for slot in backend._slots:  # type: ignore[attr-defined]
            monkeypatch.setattr(slot._stream, "synchronize", lambda: None)
        assert rows(backend.run(tensors)) != lists_on_the_cpu(bundle, tensors)


def test_a_batch_is_begun_before_the_one_before_is_waited_for(bundle: Bundle) -> None:
    gpu = FakeGpu()
    with TensorrtBackend(bundle, hardware=gpu.hardware()) as backend:
        gpu.log.clear()
        backend.run(inputs(random_profiles(64, ITEMS), bundle))
    assert gpu.log == [
        "launch 1", "launch 2", "run 1", "launch 1", "run 2", "launch 2", "run 1", "run 2"
    ]  # fmt: skip


@pytest.mark.parametrize("found", ["no bindings", "TensorRT-RTX", "none are wanted"])
def test_without_graphs_of_ours_batches_are_put_one_by_one(
    tmp_path: Path, content: Bundle, found: str
) -> None:
    gpu = FakeGpu()
    changes: dict[str, Any] = {}
    hardware = gpu.hardware(bindings=lambda: None)
    if found == "TensorRT-RTX":  # which makes its own
        changes = {"gpu": "portable", "driver": None, "flavour": "tensorrt_rtx"}
        hardware = gpu.hardware(package("tensorrt_rtx"))
    bundle = opened(tmp_path, planned(content, **changes))
    tensors = inputs(random_profiles(40, ITEMS), bundle)
    if found == "none are wanted":
        hardware = gpu.hardware()
    backend = TensorrtBackend(bundle, hardware=hardware, graphs=found != "none are wanted")
    assert backend.graphs == (found == "TensorRT-RTX")
    with backend:
        assert rows(backend.run(tensors)) == lists_on_the_cpu(bundle, tensors)
    assert "launch 1" not in gpu.log


def test_another_catalogue_takes_the_same_plan(tmp_path: Path, bundle: Bundle) -> None:
    """Tables are uploaded when the engine is loaded: no plan is built for another item matrix."""
    vectors = np.roll(bundle.tables["item_vectors"], 1, axis=0)
    tables = {**bundle.tables, "item_vectors": vectors}
    other = opened(tmp_path, replace(draft_of(bundle), tables=tables))
    assert other.plans == bundle.plans
    tensors = inputs(random_profiles(40, ITEMS), other)
    with TensorrtBackend(other, hardware=FakeGpu().hardware()) as backend:
        found = rows(backend.run(tensors))
    assert found == lists_on_the_cpu(other, tensors)
    assert found != lists_on_the_cpu(bundle, tensors)


ONE_SLOT, TWO_SLOTS = 3 + 6, 3 + 6 + 6
"""Allocations: three tables, and six tensors of each slot."""


@pytest.mark.parametrize("room", range(ONE_SLOT))
def test_out_of_memory_at_any_allocation_gives_all_back(bundle: Bundle, room: int) -> None:
    gpu = FakeGpu(room=room)
    with pytest.raises(GpuMemoryError, match="out of memory"):
        TensorrtBackend(bundle, hardware=gpu.hardware()).activate()
    assert (gpu.memory, gpu.open, gpu.current, gpu.graphs) == ({}, 0, 0, 0)


@pytest.mark.parametrize("room", range(ONE_SLOT, TWO_SLOTS))
def test_without_room_for_two_slots_one_makes_the_same_lists(
    bundle: Bundle, room: int, caplog: pytest.LogCaptureFixture
) -> None:
    gpu = FakeGpu(room=room)
    tensors = inputs(random_profiles(64, ITEMS), bundle)
    with TensorrtBackend(bundle, hardware=gpu.hardware()) as backend:
        backend.warm_up()
        gpu.log.clear()
        assert rows(backend.run(tensors)) == lists_on_the_cpu(bundle, tensors)
    assert len(set(gpu.log)) == 2  # launch and run, of one stream
    assert (gpu.memory, gpu.open, gpu.current, gpu.graphs) == ({}, 0, 0, 0)
    assert "one batch at a time" in caplog.text


def test_with_room_for_two_slots_both_are_used(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    """The negative control."""
    gpu = FakeGpu(room=TWO_SLOTS)
    with TensorrtBackend(bundle, hardware=gpu.hardware()) as backend:
        backend.run(inputs(random_profiles(64, ITEMS), bundle))
    assert len(set(gpu.log)) == 4
    assert not caplog.text


def test_a_graph_that_is_refused_gives_all_back(bundle: Bundle) -> None:
    gpu = FakeGpu()
    hardware = gpu.hardware(bindings=lambda: Bindings(gpu, fails="cuGraphInstantiate"))
    with pytest.raises(EngineError, match=r"CUDA graph\n  received: cuGraphInstantiate: CUDA_ERR"):
        TensorrtBackend(bundle, hardware=hardware).activate()
    assert (gpu.memory, gpu.open, gpu.current) == ({}, 0, 0)


def test_a_driver_that_is_lost_is_an_error(bundle: Bundle) -> None:
    gpu = FakeGpu()
    tensors = inputs(random_profiles(40, ITEMS), bundle)
    hardware = gpu.hardware(bindings=lambda: None)
    with TensorrtBackend(bundle, hardware=hardware) as backend:
        gpu.launches = 1
        with pytest.raises(EngineError, match="the GPU failed"):
            backend.run(tensors)
        gpu.launches = 10  # what was on its way when it failed is in nobody's lists
        assert rows(backend.run(tensors)) == lists_on_the_cpu(bundle, tensors)


def test_scores_that_are_not_numbers_are_an_error(bundle: Bundle) -> None:
    gpu = FakeGpu(scores=lambda scores: np.where(scores > 0, np.nan, scores))
    with (
        TensorrtBackend(bundle, hardware=gpu.hardware()) as backend,
        pytest.raises(EngineError, match="not numbers"),
    ):
        backend.run(inputs(random_profiles(40, ITEMS), bundle))


def test_a_program_that_mixes_rows_does_not_warm_up(bundle: Bundle) -> None:
    gpu = FakeGpu(scores=lambda scores: scores + scores[:, :1].max(axis=0))
    with (
        TensorrtBackend(bundle, hardware=gpu.hardware()) as backend,
        pytest.raises(EngineError, match="mixes the rows"),
    ):
        backend.warm_up()


def test_the_runtime_digest_tells_gpu_driver_and_version_apart(bundle: Bundle) -> None:
    gpus = [GPU, replace(GPU, cuda=(13, 2))]
    digests = {
        TensorrtBackend(bundle, hardware=FakeGpu().hardware(gpu=lambda: gpu)).runtime_digest  # noqa: B023
        for gpu in gpus
    }
    assert len(digests | {OnnxBackend(bundle).runtime_digest}) == 3


def nothing(*given: Any) -> Any:
    raise AssertionError("was to stay untouched")


@pytest.mark.parametrize(
    ("hardware", "match"),
    [
        ({"packages": package("tensorrt", "10.16.0.72")}, r"for tensorrt 11\.4\.0\.106"),
        ({"packages": package("tensorrt_rtx")}, r"for tensorrt 11\.4\.0\.106"),
        ({"gpu": replace(GPU, name="NVIDIA Test 9001")}, "for the GPU nvidia_test_9000-sm90"),
        ({"gpu": replace(GPU, capability=(8, 9))}, "for the GPU nvidia_test_9000-sm90"),
        ({"gpu": replace(GPU, cuda=(14, 0))}, r"for a driver for CUDA 13\.0"),
        ({"refusal": "TensorRT-RTX says UNSUPPORTED_CC"}, "UNSUPPORTED_CC"),
    ],
)
def test_a_plan_of_another_machine_is_refused_unread(
    bundle: Bundle, hardware: dict[str, Any], match: str
) -> None:
    gpu = FakeGpu()
    refusal = hardware.pop("refusal", "")
    made = gpu.hardware(refusal=refusal, device=nothing, program=nothing)
    made = replace(made, **{
        name: (lambda: [value]) if name == "packages" else (lambda: value)  # noqa: B023
        for name, value in hardware.items()
    })  # fmt: skip
    with pytest.raises(EngineError, match=rf"no plan of test@1 fits[\s\S]*{match}[\s\S]*fix: "):
        TensorrtBackend(bundle, hardware=made)
    TensorrtBackend(bundle, hardware=gpu.hardware())  # the negative control


def test_the_plan_of_this_very_gpu_comes_before_a_portable_one(
    tmp_path: Path, content: Bundle
) -> None:
    portable = planned(
        content, b"portable", gpu="portable", driver=None, flavour="tensorrt_rtx"
    ).plans
    draft = replace(planned(content, b"own"), plans=(*portable, *planned(content, b"own").plans))
    gpu = FakeGpu()
    hardware = gpu.hardware(package("tensorrt_rtx"), package())
    with TensorrtBackend(opened(tmp_path, draft), hardware=hardware):
        assert gpu.loaded == [b"own"]


def test_auto_takes_tensorrt_where_it_can(
    bundle: Bundle, content: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "THIS_MACHINE", FakeGpu().hardware())
    assert isinstance(open_backend(bundle), TensorrtBackend)
    assert isinstance(open_backend(bundle, backend="tensorrt"), TensorrtBackend)
    assert isinstance(open_backend(bundle, backend="onnx"), OnnxBackend)
    assert isinstance(open_backend(content), OnnxBackend)  # has no plan
    with pytest.raises(EngineError, match=r"has no plan[\s\S]*headrace build test@1"):
        open_backend(content, backend="tensorrt")


def test_auto_takes_onnx_runtime_where_there_is_no_driver(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_gpu() -> Any:
        raise EngineError("there is no NVIDIA driver")

    hardware = FakeGpu().hardware(gpu=no_gpu, refusal=nothing, device=nothing)
    monkeypatch.setattr(runner, "THIS_MACHINE", hardware)
    assert isinstance(open_backend(bundle), OnnxBackend)
    with pytest.raises(EngineError, match="no NVIDIA driver"):
        open_backend(bundle, backend="tensorrt")


def test_a_refreshed_bundle_keeps_its_plan_and_another_model_loses_it(
    tmp_path: Path, bundle: Bundle, cooccurrence: Bundle
) -> None:
    store = Registry(tmp_path)
    assert store.add(draft_of(bundle), "same").manifest.plans == bundle.manifest.plans
    foreign = replace(draft_of(cooccurrence), plans=draft_of(bundle).plans)
    assert not store.add(foreign, "another").plans

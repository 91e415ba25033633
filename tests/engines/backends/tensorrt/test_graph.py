"""CUDA graphs; that they are launched and given back is tested with the backend."""

from __future__ import annotations

import sys

import pytest

from engines.backends.tensorrt.graph import Graph, bindings
from schemas.errors import EngineError
from tests.engines.backends.tensorrt.fake_gpu import Bindings, FakeGpu, Stream


def test_the_bindings_have_what_is_played() -> None:
    driver = bindings()
    if driver is None:
        pytest.skip("cuda-bindings is not installed")
    played = [name[1:] for name in vars(Bindings) if name.startswith("_cu")]
    assert len(played) == 6
    assert not [name for name in played if not callable(getattr(driver, name))]
    assert driver.CUresult.CUDA_SUCCESS == 0
    assert driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL


def test_without_the_bindings_there_are_no_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda", None)
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    assert bindings() is None


def test_a_stream_is_no_longer_recorded_after_an_error() -> None:
    gpu = FakeGpu(streams={1: Stream(1)})

    def fails() -> None:
        raise EngineError("the GPU failed")

    with pytest.raises(EngineError, match="the GPU failed"):
        Graph(1, fails, Bindings(gpu))  # type: ignore[arg-type]
    assert gpu.streams[1].recording is None

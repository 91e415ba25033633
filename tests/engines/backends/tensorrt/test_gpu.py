"""Whether a GPU can be used, told without TensorRT."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from engines.backends.tensorrt.gpu import Gpu, find_gpu
from schemas.errors import EngineError


@dataclass
class Libcuda:
    """A driver that says this."""

    cuda: int = 13010
    devices: int = 1
    status: int = 0
    calls: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            self.calls += (name,)
            if name == "cuInit":
                return self.status
            if name == "cuDeviceGetName":
                arguments[0].value = b"NVIDIA Test 9000"
                return 0
            values = {
                "cuDriverGetVersion": self.cuda,
                "cuDeviceGetCount": self.devices,
                "cuDeviceGet": 0,
                "cuDeviceGetAttribute": {75: 9, 76: 0}.get(arguments[1] if arguments[1:] else 0),
            }
            ctypes.cast(arguments[0], ctypes.POINTER(ctypes.c_int))[0] = values[name]
            return 0

        return call


def test_the_first_gpu_is_found() -> None:
    gpu = find_gpu(lambda name: Libcuda())
    assert gpu == Gpu("NVIDIA Test 9000", (9, 0), (13, 1))
    assert str(gpu) == "NVIDIA Test 9000 with a driver for CUDA 13.1"


def no_library(name: str) -> Any:
    raise OSError(f"{name}: cannot open shared object file")


@pytest.mark.parametrize(
    ("load", "match"),
    [
        (no_library, r"no NVIDIA driver[\s\S]*received: libcuda\.so\.1: cannot open"),
        (lambda name: Libcuda(cuda=12040), r"too old[\s\S]*13\.0[\s\S]*received: .*CUDA 12\.4"),
        (lambda name: Libcuda(devices=0), "there is no GPU"),
        (lambda name: Libcuda(status=100), r"does not answer[\s\S]*cuInit: CUDA error 100"),
    ],
)
def test_what_is_missing_is_told(load: Callable[[str], Any], match: str) -> None:
    with pytest.raises(EngineError, match=rf"{match}[\s\S]*fix: install the driver"):
        find_gpu(load)


def test_an_old_driver_is_not_even_started() -> None:
    old = Libcuda(cuda=12080)
    with pytest.raises(EngineError):
        find_gpu(lambda name: old)
    assert "cuInit" not in old.calls

"""The device layer on a pycuda that plays its part: contexts in balance, errors of our own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.backends.tensorrt.memory import Device
from schemas.errors import EngineError


class Pycuda(ModuleType):
    """``pycuda.driver`` with a fault.

    Args:
        fails: name of the function that raises.
        error: what it raises.
    """

    class Error(Exception):
        pass

    class MemoryError(Error):
        pass

    class LogicError(Error):
        pass

    def __init__(self, fails: str = "", error: type[Exception] = LogicError) -> None:
        super().__init__("pycuda.driver")
        self.depth = 0
        self.freed = 0
        self.contexts = 0
        self.did: list[str] = []
        self.Stream = self._or_fail("Stream", lambda: SimpleNamespace(handle=7))
        self._fails, self._error = fails, error
        self.Context = SimpleNamespace(
            pop=self._pop, synchronize=self._or_fail("synchronize", lambda: None)
        )

    def _or_fail(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            self.did.append(name)
            if name == self._fails:
                raise self._error(f"{name} failed")
            return function(*given)

        return call

    def init(self) -> None:
        self._or_fail("init", lambda: None)()

    def Device(self, number: int) -> Any:  # noqa: N802
        assert number == 0
        return SimpleNamespace(retain_primary_context=self._retain)

    def _retain(self) -> Any:
        self.contexts += 1
        return SimpleNamespace(push=self._push)

    def _push(self) -> None:
        self._or_fail("push", lambda: None)()
        self.depth += 1

    def _pop(self) -> None:
        self.depth -= 1

    def mem_alloc(self, size: int) -> Any:
        assert self.depth
        return self._or_fail("mem_alloc", lambda: Allocation(self, size))()

    def pagelocked_zeros(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        assert self.depth
        pinned = Pinned(int(np.prod(shape)) * dtype.itemsize)
        pinned.cuda = self
        zeros: NDArray[Any] = np.ndarray(shape, dtype, buffer=pinned)
        return zeros

    def memcpy_htod_async(self, address: int, array: NDArray[Any], stream: Any) -> None:
        self._or_fail("memcpy_htod_async", lambda: None)()


class Pinned(bytearray):
    cuda: Pycuda

    def free(self) -> None:
        assert self.cuda.depth
        self.cuda.freed += 1


class Allocation:
    def __init__(self, cuda: Pycuda, size: int) -> None:
        self.cuda, self.size = cuda, size

    def __int__(self) -> int:
        return self.size * 4096

    def free(self) -> None:
        assert self.cuda.depth
        self.cuda.freed += 1


def opened(monkeypatch: pytest.MonkeyPatch, cuda: Pycuda) -> Device:
    monkeypatch.setitem(sys.modules, "pycuda", SimpleNamespace(driver=cuda))
    monkeypatch.setitem(sys.modules, "pycuda.driver", cuda)
    return Device()


def test_all_is_given_back_while_the_context_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Pycuda()
    device = opened(monkeypatch, cuda)
    with device.current():
        stream = device.stream()
        assert stream.handle == 7
        assert [device.allocate(1), device.allocate(2)] == [4096, 8192]
        pinned = device.pinned((2, 3), "int64")
        assert (pinned.shape, pinned.any()) == ((2, 3), False)
        device.upload(4096, pinned, stream)
    assert cuda.depth == 0
    device.close()
    assert (cuda.depth, cuda.freed) == (0, 3)
    assert stream.raw is None  # pycuda's own ends with its last reference
    assert cuda.did[-1] == "synchronize"


def test_one_context_is_retained_for_all_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Pycuda()
    for _ in range(3):
        opened(monkeypatch, cuda).close()
    assert cuda.contexts == 1


@pytest.mark.parametrize(
    ("error", "match"),
    [
        (Pycuda.MemoryError, r"out of memory[\s\S]*mem_alloc failed[\s\S]*fix: "),
        (Pycuda.LogicError, r"the GPU failed\n  received: LogicError: mem_alloc failed"),
    ],
)
def test_errors_become_our_own(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], match: str
) -> None:
    cuda = Pycuda("mem_alloc", error)
    device = opened(monkeypatch, cuda)
    with pytest.raises(EngineError, match=match), device.current():
        device.allocate(1)
    assert cuda.depth == 0


def test_other_errors_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Pycuda()
    device = opened(monkeypatch, cuda)
    with pytest.raises(ZeroDivisionError), device.current():
        print(1 / 0)
    assert cuda.depth == 0


@pytest.mark.parametrize("fails", ["init", "push", "synchronize"])
def test_a_driver_that_is_gone_is_an_error(monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    with pytest.raises(EngineError, match=f"{fails} failed"):
        opened(monkeypatch, Pycuda(fails)).close()


def test_pycuda_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(EngineError, match=r"pycuda is missing[\s\S]*fix: .*pip install pycuda"):
        Device()

"""The GPU's memory and streams, through pycuda. The rest of the package knows none of pycuda.

pycuda is imported when the first device is opened, by a process that must not fork from then on.
The primary context, which TensorRT's runtime and PyTorch use too, is retained then and for the life
of the process: what pycuda has made is given back only while its context lives, and by a thread in
which it is current. So a device gives back itself all that it has handed out, and a context is
current only inside ``Device.current()``. Any thread may use a device, one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import EngineError, GpuMemoryError


class Stream:
    """A queue of work.

    Args:
        raw: pycuda's.
    """

    def __init__(self, raw: Any) -> None:
        self.raw = raw

    @property
    def handle(self) -> int:
        """As other libraries know it."""
        return int(self.raw.handle)

    def synchronize(self) -> None:
        """Wait until its work is done."""
        self.raw.synchronize()


class Device:
    """The first GPU that this process may see. All methods but ``current`` want it current.

    Raises:
        EngineError: here and in every method, if the GPU fails.
    """

    def __init__(self) -> None:
        self._cuda = _pycuda()
        try:
            self._context = _primary_context(self._cuda)
        except self._cuda.Error as error:
            raise self._failure(error) from error
        self._allocations: list[Any] = []
        self._streams: list[Stream] = []

    @contextmanager
    def current(self) -> Iterator[None]:
        """Work on this device in this thread; errors of CUDA become our own."""
        try:
            self._context.push()
            try:
                yield
            finally:
                self._cuda.Context.pop()
        except self._cuda.Error as error:
            raise self._failure(error) from error

    def stream(self) -> Stream:
        """A new one."""
        self._streams.append(Stream(self._cuda.Stream()))
        return self._streams[-1]

    def pinned(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """Zeros in memory of the host that the device reads and writes by itself."""
        zeros: NDArray[Any] = self._cuda.pagelocked_zeros(shape, np.dtype(dtype))
        self._allocations.append(zeros.base)
        return zeros

    def allocate(self, size_bytes: int) -> int:
        """The address of so much memory of the device, until it is closed."""
        allocation = self._cuda.mem_alloc(size_bytes)
        self._allocations.append(allocation)
        return int(allocation)

    def upload(self, address: int, array: NDArray[Any], stream: Stream) -> None:
        """Copy a pinned array to the device, when the stream comes to it."""
        self._cuda.memcpy_htod_async(address, array, stream.raw)

    def download(self, array: NDArray[Any], address: int, stream: Stream) -> None:
        """Fill a pinned array from the device, when the stream comes to it."""
        self._cuda.memcpy_dtoh_async(array, address, stream.raw)

    def upload_now(self, address: int, array: NDArray[Any]) -> None:
        """Copy any array to the device, and wait until it is there."""
        self._cuda.memcpy_htod(address, np.ascontiguousarray(array))

    def close(self) -> None:
        """Take all back that it has handed out, pinned arrays too: none may be touched after."""
        with self.current():
            self._cuda.Context.synchronize()  # a batch may still be on its way
            for stream in self._streams:
                stream.raw = None
            while self._allocations:
                self._allocations.pop().free()

    def _failure(self, error: Exception) -> EngineError:
        if isinstance(error, self._cuda.MemoryError):
            return GpuMemoryError(
                "the GPU is out of memory",
                expected="room for the engine, its tables and a batch",
                received=str(error),
                fix="stop what else runs on it, or use one slot a TaskManager",
            )
        return EngineError("the GPU failed", received=f"{type(error).__name__}: {error}")


def _pycuda() -> ModuleType:
    try:
        from pycuda import driver
    except ImportError as error:  # ModuleNotFoundError, or a libcuda that it cannot load
        raise EngineError(
            "TensorRT cannot be used: pycuda is missing",
            expected="the package pycuda, which is compiled when it is installed",
            received=str(error),
            fix="with a CUDA 13 toolkit: pip install pycuda",
        ) from error
    found: ModuleType = driver
    return found


@lru_cache(maxsize=1)
def _primary_context(cuda: ModuleType) -> Any:
    cuda.init()
    return cuda.Device(0).retain_primary_context()

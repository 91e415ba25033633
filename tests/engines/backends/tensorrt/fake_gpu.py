"""A GPU that is none: what ``memory``, ``program`` and ``graph`` offer, with a clock of its own.

As on a real one, work that is put on a stream happens later: here when somebody waits for the
stream. Who reads a buffer too early, or writes over one that is still to be copied, gets wrong
lists. The program really computes, by ONNX Runtime on what lies in the device's memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.backends.onnx import OnnxBackend
from engines.backends.tensorrt.api import Flavour, TensorRT
from engines.backends.tensorrt.gpu import Gpu
from engines.backends.tensorrt.runner import Hardware
from engines.bundle import Bundle
from engines.draft import Draft, draft_of
from engines.manifest import MODEL, GpuPlan
from schemas.errors import EngineError, GpuMemoryError

GPU = Gpu("NVIDIA Test 9000", (9, 0), (13, 1))
VERSION = "11.4.0.106"


def package(flavour: Flavour = "tensorrt", version: str = VERSION) -> TensorRT:
    """A package that nothing can be done with."""
    return TensorRT(flavour, SimpleNamespace(__version__=version), None, deque())


def planned(bundle: Bundle, data: bytes = b"a plan", **changes: Any) -> Draft:
    """The bundle with a plan for the fake GPU, whose entry has these changes."""
    plan = GpuPlan(
        gpu=GPU.slug,
        driver="13.0",
        flavour="tensorrt",
        version=VERSION,
        onnx_sha256=bundle.manifest.files[MODEL].sha256,
    ).model_copy(update=changes)
    return replace(draft_of(bundle), plans=((plan, data),))


class Stream:
    """Work in order, done when somebody waits for it."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.recording: list[Callable[[], None]] | None = None
        self._work: list[Callable[[], None]] = []

    def put(self, job: Callable[[], None]) -> None:
        (self._work if self.recording is None else self.recording).append(job)

    def synchronize(self) -> None:
        assert self.recording is None, "a stream that is recorded must not be waited for"
        work, self._work = self._work, []
        for job in work:
            job()


@dataclass
class FakeGpu:
    """The machine.

    Attributes:
        room: allocations until it is out of memory.
        launches: runs of the program until the driver is lost.
        scores: what becomes of them.
        memory: array by address, of what is allocated.
        current: how often the device was made current and not let go.
        open: devices that were opened and not closed.
        loaded: what plans were loaded.
        graphs: CUDA graphs that were made and not given back.
        streams: by handle.
        log: "launch" of a graph and "run" of the program, with the number of the stream.
    """

    room: int = 1 << 30
    launches: int = 1 << 30
    scores: Callable[[NDArray[Any]], NDArray[Any]] = lambda scores: scores
    memory: dict[int, NDArray[Any]] = field(default_factory=dict)
    current: int = 0
    open: int = 0
    loaded: list[bytes] = field(default_factory=list)
    graphs: int = 0
    streams: dict[int, Stream] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def hardware(self, *packages: TensorRT, refusal: str = "", **changes: Any) -> Hardware:
        """As a backend finds it."""
        found = Hardware(
            packages=lambda: list(packages) or [package()],
            gpu=lambda: GPU,
            refusal=lambda tensorrt, data: refusal,
            device=lambda: FakeDevice(self),  # type: ignore[arg-type, return-value]
            program=lambda *given: FakeProgram(self, *given),
            bindings=lambda: Bindings(self),
        )
        return replace(found, **changes)

    def check_current(self) -> None:
        assert self.current, "the device must be current"


class FakeDevice:
    """Stands for ``memory.Device``."""

    def __init__(self, gpu: FakeGpu) -> None:
        self.gpu = gpu
        self.addresses: list[int] = []
        self.streams: list[Stream] = []
        gpu.open += 1

    @contextmanager
    def current(self) -> Iterator[None]:
        self.gpu.current += 1
        try:
            yield
        finally:
            self.gpu.current -= 1

    def stream(self) -> Stream:
        self.gpu.check_current()
        stream = Stream(len(self.gpu.streams) + 1)
        self.streams.append(stream)
        return self.gpu.streams.setdefault(stream.handle, stream)

    def pinned(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        self.gpu.check_current()
        return np.zeros(shape, dtype)

    def allocate(self, size_bytes: int) -> int:
        self.gpu.check_current()
        if not self.gpu.room:
            raise GpuMemoryError("the GPU is out of memory")
        self.gpu.room -= 1
        self.addresses.append(0x1000 * (len(self.gpu.memory) + 1) + id(self) % 0x1000)
        self.gpu.memory[self.addresses[-1]] = np.full(size_bytes, 0xAB, np.uint8)
        return self.addresses[-1]

    def upload(self, address: int, array: NDArray[Any], stream: Stream) -> None:
        self.gpu.check_current()
        stream.put(lambda: self._write(address, array))

    def download(self, array: NDArray[Any], address: int, stream: Stream) -> None:
        self.gpu.check_current()
        stream.put(lambda: np.copyto(array.reshape(-1).view(np.uint8), self.gpu.memory[address]))

    def upload_now(self, address: int, array: NDArray[Any]) -> None:
        self.gpu.check_current()
        self._write(address, array)

    def close(self) -> None:
        for stream in self.streams:
            stream.synchronize()
        for address in self.addresses:
            del self.gpu.memory[address]
        self.gpu.room += len(self.addresses)
        self.addresses.clear()
        self.gpu.open -= 1

    def _write(self, address: int, array: NDArray[Any]) -> None:
        self.gpu.memory[address][:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)


class FakeProgram:
    """Stands for ``program.Program``."""

    def __init__(
        self, gpu: FakeGpu, tensorrt: TensorRT, bundle: Bundle, plan: GpuPlan, graphs: bool
    ) -> None:
        gpu.check_current()
        gpu.loaded.append(bundle.plans[plan.file])
        self.gpu, self.bundle = gpu, bundle

    def context(self, addresses: dict[str, int]) -> FakeContext:
        return FakeContext(self.gpu, self.bundle, addresses)


class FakeContext:
    """Stands for ``program.Context``."""

    def __init__(self, gpu: FakeGpu, bundle: Bundle, addresses: dict[str, int]) -> None:
        self.gpu, self.addresses = gpu, addresses
        self.manifest = bundle.manifest
        tables = {table.name: self._read(table) for table in bundle.manifest.tables}
        self.engine = OnnxBackend(replace(bundle, tables=tables))
        self.engine.activate()

    def enqueue(self, handle: int) -> None:
        self.gpu.check_current()
        self.gpu.launches -= 1
        if self.gpu.launches < 0:
            raise EngineError("the GPU failed", received="cuLaunchKernel: unspecified")
        stream = self.gpu.streams[handle]
        stream.put(lambda: self._run(handle))

    def _run(self, handle: int) -> None:
        self.gpu.log.append(f"run {handle}")
        inputs = {tensor.name: self._read(tensor) for tensor in self.manifest.inputs}
        scores, items, channels = self.engine._run_impl(inputs)
        outputs = zip(
            self.manifest.outputs, (self.gpu.scores(scores), items, channels), strict=True
        )
        for tensor, output in outputs:
            place = self.gpu.memory[self.addresses[tensor.name]]
            place[:] = np.ascontiguousarray(output).reshape(-1).view(np.uint8)

    def _read(self, tensor: Any) -> NDArray[Any]:
        raw = self.gpu.memory[self.addresses[tensor.name]]
        return raw.view(tensor.dtype).reshape(tensor.shape).copy()


class Bindings:
    """Stands for ``cuda.bindings.driver``: records a stream, and plays it back.

    Args:
        gpu: whose streams they are.
        fails: a function that gives an error.
    """

    class CUresult(Enum):
        CUDA_SUCCESS = 0
        CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900

    class CUstreamCaptureMode(Enum):
        CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1

    def __init__(self, gpu: FakeGpu, fails: str = "") -> None:
        self._gpu = gpu
        self._fails = fails

    def __getattr__(self, name: str) -> Callable[..., tuple[Any, ...]]:
        def call(*arguments: Any) -> tuple[Any, ...]:
            if name == self._fails:
                return (self.CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, None)
            return (self.CUresult.CUDA_SUCCESS, *getattr(self, f"_{name}")(*arguments))

        return call

    def _cuStreamBeginCapture(self, stream: int, mode: Enum) -> tuple[()]:  # noqa: N802
        self._gpu.streams[stream].recording = []
        return ()

    def _cuStreamEndCapture(self, stream: int) -> tuple[Any]:  # noqa: N802
        recorded, self._gpu.streams[stream].recording = self._gpu.streams[stream].recording, None
        return (recorded,)

    def _cuGraphInstantiate(self, graph: list[Any], flags: int) -> tuple[Any]:  # noqa: N802
        self._gpu.graphs += 1
        return (list(graph),)

    def _cuGraphDestroy(self, graph: list[Any]) -> tuple[()]:  # noqa: N802
        graph.clear()
        return ()

    def _cuGraphLaunch(self, graph: list[Any], stream: int) -> tuple[()]:  # noqa: N802
        self._gpu.log.append(f"launch {stream}")
        for job in graph:
            self._gpu.streams[stream].put(job)
        return ()

    def _cuGraphExecDestroy(self, graph: list[Any]) -> tuple[()]:  # noqa: N802
        self._gpu.graphs -= 1
        return ()

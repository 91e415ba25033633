"""CUDA graphs: what a batch puts on a stream, recorded once and then launched as one.

pycuda has no calls for them, so these few go through NVIDIA's own ``cuda-bindings``, on the same
stream and context. TensorRT-RTX records its own graphs and is not recorded here.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from schemas.errors import EngineError


class Graph:
    """Recorded work.

    Args:
        stream: handle of the stream that ``enqueue`` fills, and that the graph is launched on.
        enqueue: puts the work on the stream; has done so before, as TensorRT asks for. It must do
            nothing else, and addresses that it uses must stay.
        driver: ``cuda.bindings.driver``.

    Raises:
        EngineError: here and in every method, if the driver refuses.
    """

    def __init__(self, stream: int, enqueue: Callable[[], None], driver: ModuleType) -> None:
        self._driver = driver
        self._stream = stream
        # Of this thread's work alone: an engine on trial may allocate in another meanwhile.
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call("cuStreamBeginCapture", stream, mode)
        try:
            enqueue()
        finally:
            (graph,) = self._call("cuStreamEndCapture", stream)
        (self._launchable,) = self._call("cuGraphInstantiate", graph, 0)
        self._call("cuGraphDestroy", graph)

    def launch(self) -> None:
        """Put the work on the stream."""
        self._call("cuGraphLaunch", self._launchable, self._stream)

    def close(self) -> None:
        """Give its memory back."""
        self._call("cuGraphExecDestroy", self._launchable)

    def _call(self, function: str, *arguments: Any) -> tuple[Any, ...]:
        status, *found = getattr(self._driver, function)(*arguments)
        if status != self._driver.CUresult.CUDA_SUCCESS:
            raise EngineError("the GPU refuses a CUDA graph", received=f"{function}: {status.name}")
        return tuple(found)


def bindings() -> ModuleType | None:
    """``cuda.bindings.driver``; None where the package is not there, and batches go one by one."""
    try:
        from cuda.bindings import driver
    except ImportError:
        return None
    found: ModuleType = driver
    return found

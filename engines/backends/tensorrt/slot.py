"""One of the places in which a batch is on its way through the GPU.

    host, pinned          device
    inputs  ────copy────▶ inputs ─┐
                          tables ─┴▶ plan ─▶ outputs ────copy────▶ outputs, pinned
    └──────────────── one stream, and one CUDA graph where there are ───────────┘

Every slot has a stream and buffers of its own, so the copies of one batch go on while the GPU
computes another. Nothing is allocated after the slot is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engines.backends.tensorrt.graph import Graph
from engines.backends.tensorrt.memory import Device
from engines.backends.tensorrt.program import Program
from engines.manifest import Manifest, Tensor


class Buffer(NamedTuple):
    """A tensor on both sides: pinned in the host's memory, and at an address of the device's."""

    host: NDArray[Any]
    address: int


class Slot:
    """Makes its buffers, and runs once; all methods but ``close`` want the device to be current.

    Args:
        device: to run on.
        program: what to run.
        manifest: names, dtypes and shapes of inputs and outputs.
        tables: name -> address of each table on the device.
        record: makes a graph of a stream's handle and a function that fills it; None: there are
            no graphs.

    Raises:
        EngineError: here and in every method, if the GPU fails.
    """

    def __init__(
        self,
        device: Device,
        program: Program,
        manifest: Manifest,
        tables: Mapping[str, int],
        record: Callable[[int, Callable[[], None]], Graph] | None,
    ) -> None:
        self._device = device
        self._stream = device.stream()
        self._inputs = self._buffers(manifest.inputs)
        self._outputs = self._buffers(manifest.outputs)
        buffers = {**self._inputs, **self._outputs}
        addresses = {name: buffer.address for name, buffer in buffers.items()}
        self._context = program.context({**addresses, **tables})
        self._graphs = ExitStack()
        self._start = self._enqueue
        self._enqueue()  # TensorRT wants to have run before it is recorded
        self._stream.synchronize()
        if record:
            graph = record(self._stream.handle, self._enqueue)
            self._graphs.callback(graph.close)
            self._start = graph.launch

    def submit(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Start a batch; its inputs may change from now on."""
        self._stream.synchronize()  # of a batch whose outputs nobody took
        for name, buffer in self._inputs.items():
            np.copyto(buffer.host, inputs[name])
        self._start()

    def outputs(self) -> list[NDArray[Any]]:
        """``scores``, ``items``, ``channels`` [B, k] of the batch, once done; till the next."""
        self._stream.synchronize()
        return [buffer.host for buffer in self._outputs.values()]

    def close(self) -> None:
        """Give back what is not the device's: the device takes its own."""
        with self._device.current(), self._graphs:
            self._inputs.clear()
            self._outputs.clear()
            del self._context

    def _buffers(self, tensors: Sequence[Tensor]) -> dict[str, Buffer]:
        buffers = {}
        for tensor in tensors:
            host = self._device.pinned(tuple(tensor.shape), tensor.dtype)
            buffers[tensor.name] = Buffer(host, self._device.allocate(host.nbytes))
        return buffers

    def _enqueue(self) -> None:
        for buffer in self._inputs.values():
            self._device.upload(buffer.address, buffer.host, self._stream)
        self._context.enqueue(self._stream.handle)
        for buffer in self._outputs.values():
            self._device.download(buffer.host, buffer.address, self._stream)

"""A plan that TensorRT has loaded, and the contexts that run it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from engines.backends.tensorrt.api import TensorRT
from engines.bundle import Bundle
from engines.manifest import GpuPlan, Table, Tensor
from schemas.errors import EngineError, GpuMemoryError


def refusal(tensorrt: TensorRT, data: bytes) -> str:
    """Why TensorRT would not run a plan on this GPU, told by its header; empty if it would.

    Only TensorRT-RTX can say so beforehand; it alone has plans for several GPUs. Wants a driver.
    """
    if not tensorrt.portable:
        return ""
    trt = tensorrt.module
    runtime = trt.Runtime(tensorrt.logger)
    validity, found = runtime.get_engine_validity(data[: runtime.engine_header_size])
    if validity != trt.EngineValidity.INVALID:
        return ""
    reasons = trt.EngineInvalidityDiagnostics.__members__.items()
    named = [name for name, reason in reasons if int(found) & int(reason)]
    return f"TensorRT-RTX says {', '.join(named) or tensorrt.blamed('no reason')}"


class Program:
    """A loaded plan. Wants a driver, and the device to be current.

    Args:
        tensorrt: the package that built the plan.
        bundle: of which it is.
        plan: its entry.
        graphs: let TensorRT-RTX record a CUDA graph; of TensorRT itself the slots do.

    Raises:
        EngineError: TensorRT refuses it, or it has other inputs or outputs than the bundle says.
    """

    def __init__(
        self, tensorrt: TensorRT, bundle: Bundle, plan: GpuPlan, graphs: bool = True
    ) -> None:
        self._tensorrt = tensorrt
        self._graphs = graphs
        self._label = f"{plan.file} of {bundle.label}"
        self._runtime = tensorrt.module.Runtime(tensorrt.logger)
        self._engine = self._runtime.deserialize_cuda_engine(bundle.plans[plan.file])
        if self._engine is None:
            raise EngineError(
                f"{tensorrt} cannot load {self._label}",
                expected="a plan that it has built on a GPU like this",
                received=tensorrt.blamed("no reason"),
                fix=f"headrace build {bundle.label} --backend tensorrt, on this machine",
            )
        manifest = bundle.manifest
        tensors: list[Tensor | Table] = [*manifest.inputs, *manifest.tables, *manifest.outputs]
        self._check_signature({t.name: (np.dtype(t.dtype), tuple(t.shape)) for t in tensors})

    def _check_signature(self, expected: dict[str, Any]) -> None:
        """Buffers are made by the manifest: by another plan, the GPU would write beyond them."""
        engine, dtype_of = self._engine, self._tensorrt.module.nptype
        found = {}
        for number in range(engine.num_io_tensors):
            name = engine.get_tensor_name(number)
            dtype = np.dtype(dtype_of(engine.get_tensor_dtype(name)))
            found[name] = (dtype, tuple(engine.get_tensor_shape(name)))
        if found != expected:
            raise EngineError(
                f"{self._label} is another model", expected=str(expected), received=str(found)
            )

    def context(self, addresses: Mapping[str, int]) -> Context:
        """A context whose inputs, tables and outputs lie at these addresses of the device."""
        if self._tensorrt.portable and self._graphs:
            config = self._engine.create_runtime_config()
            config.cuda_graph_strategy = self._tensorrt.module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            context = self._engine.create_execution_context(config)
        else:
            context = self._engine.create_execution_context()
        if context is None:  # its memory is the one thing that it allocates
            raise GpuMemoryError(
                f"there is no room on the GPU to run {self._label}",
                received=self._tensorrt.blamed("no reason"),
                fix="stop what else runs on the GPU",
            )
        for name, address in addresses.items():
            context.set_tensor_address(name, address)
        return Context(context, self._tensorrt, self._label)


class Context:
    """What runs a program on one set of buffers."""

    def __init__(self, context: Any, tensorrt: TensorRT, label: str) -> None:
        self._context = context
        self._tensorrt = tensorrt
        self._label = label

    def enqueue(self, stream: int) -> None:
        """Run it once, when the stream with this handle comes to it."""
        if not self._context.execute_async_v3(stream):
            raise EngineError(
                f"{self._label} failed on a batch", received=self._tensorrt.blamed("no reason")
            )

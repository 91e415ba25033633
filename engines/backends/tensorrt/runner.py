"""TensorRT on a GPU. Never yet run on one: see the section on TensorRT in the README.

                 ┌─▶ slot 0: copy in ─▶ run ─▶ copy out ─┐      batch n
    batches ─────┤                                       ├─▶ outputs, in order
                 └─▶ slot 1:     copy in ─▶ run ─▶ copy out     batch n + 1

A plan has one shape, and so one profile. Each slot has a context of it, because the addresses that
a context and its CUDA graph use must stay. The tables lie on the device once, for both. Where there
is no room for two slots there is one, and lists stay what they are; a smaller batch would be
another model, of other last bits.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import Any

from numpy.typing import NDArray

from engines.backends.base import Device, EngineBackend
from engines.backends.tensorrt import api, gpu, graph, memory, plans, program
from engines.backends.tensorrt.slot import Slot
from engines.bundle import Bundle
from schemas.errors import EngineError, GpuMemoryError

SLOTS = 2

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hardware:
    """What a backend finds on the machine; tests give it another."""

    packages: Callable[[], list[api.TensorRT]] = api.installed
    gpu: Callable[[], gpu.Gpu] = gpu.find_gpu
    refusal: Callable[[api.TensorRT, bytes], str] = program.refusal
    device: Callable[[], memory.Device] = memory.Device
    program: Callable[..., program.Program] = program.Program
    bindings: Callable[[], Any] = graph.bindings


THIS_MACHINE = Hardware()


class TensorrtBackend(EngineBackend):
    """Runs the plan of a bundle that fits this machine.

    Args:
        bundle: verified.
        threads: of no use here.
        hardware: to run on.
        graphs: launch a batch as one CUDA graph, where that can be done; the bench compares.

    Raises:
        EngineError: the bundle has no plan for this machine, or TensorRT, the GPU or its driver are
            missing. Nothing was loaded.
    """

    def __init__(
        self,
        bundle: Bundle,
        threads: int = 1,
        hardware: Hardware | None = None,
        *,
        graphs: bool = True,
    ) -> None:
        super().__init__(bundle, threads)
        self._hardware = hardware or THIS_MACHINE
        self._graphs = graphs
        plans.check_plan(bundle)
        packages = self._hardware.packages()
        self._gpu = self._hardware.gpu()  # before TensorRT makes anything: it would crash
        self._plan, self._tensorrt = plans.fitting(bundle, self._gpu, packages)
        if reason := self._hardware.refusal(self._tensorrt, bundle.plans[self._plan.file]):
            raise EngineError(
                f"no plan of {bundle.label} fits this machine",
                expected=f"one for {self._gpu}",
                received=reason,
                fix="serve it with engine.backend = onnx",
            )
        self._slots: list[Slot] = []
        self._loaded = ExitStack()

    @property
    def device(self) -> Device:
        """Where the model is run."""
        return "cuda"

    @property
    def graphs(self) -> bool:
        """Whether batches are launched as CUDA graphs: TensorRT-RTX records its own."""
        return self._graphs and (self._tensorrt.portable or bool(self._hardware.bindings()))

    def _activate_impl(self) -> None:
        try:
            self._load(SLOTS)
        except GpuMemoryError as error:
            log.warning("%s goes on the GPU one batch at a time: %s", self.bundle.label, error)
            self._load(1)

    def _load(self, number: int) -> None:
        with ExitStack() as loading:
            self._device = self._hardware.device()
            loading.callback(self._device.close)
            with self._device.current():
                tables = self._upload_tables()
                loaded = self._hardware.program(
                    self._tensorrt, self.bundle, self._plan, self._graphs
                )
                manifest, record, slots = self.bundle.manifest, self._recorder(), []
                for _ in range(number):
                    slots.append(Slot(self._device, loaded, manifest, tables, record))
                    loading.callback(slots[-1].close)
            self._slots, self._loaded = slots, loading.pop_all()

    def _upload_tables(self) -> dict[str, int]:
        """Where each table lies on the device."""
        places = {}
        for name, table in self.bundle.tables.items():
            places[name] = self._device.allocate(table.nbytes)
            self._device.upload_now(places[name], table)
        return places

    def _recorder(self) -> Callable[[int, Callable[[], None]], graph.Graph] | None:
        if self._tensorrt.portable or not self.graphs:
            return None
        return partial(graph.Graph, driver=self._hardware.bindings())

    def _deactivate_impl(self) -> None:
        self._slots = []
        self._loaded.close()

    def _run_impl(self, inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        return next(iter(self._run_each_impl([inputs])))

    def _run_each_impl(
        self, batches: Iterable[dict[str, NDArray[Any]]]
    ) -> Iterator[list[NDArray[Any]]]:
        busy: deque[Slot] = deque()
        for slot, inputs in zip(cycle(self._slots), batches, strict=False):
            if len(busy) == len(self._slots):
                yield self._outputs(busy.popleft())
            with self._device.current():  # not while a caller has the turn
                slot.submit(inputs)
            busy.append(slot)
        while busy:
            yield self._outputs(busy.popleft())

    def _outputs(self, slot: Slot) -> list[NDArray[Any]]:
        with self._device.current():
            return slot.outputs()

    def _runtime_impl(self) -> list[str]:
        return [str(self._tensorrt), self._plan.gpu, str(self._gpu)]

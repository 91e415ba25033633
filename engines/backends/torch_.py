"""PyTorch: the reference that other runtimes are measured against. No job ever ranks with it.

    bundle ─▶ the module that it was exported from ─┬─▶ as it is
                                                    └─▶ torch.compile, for the one batch shape

On the GPU where PyTorch has one, and else on ``threads`` threads. A tie goes to the lower index in
ONNX, while PyTorch promises nothing of the kind (see ``models.listing``): lists are those of the
other runtimes but for equal and nearly equal scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from numpy.typing import NDArray

from engines.backends.base import Device, EngineBackend
from engines.backends.onnx import instruction_set
from engines.bundle import Bundle
from engines.models.modules import module_of
from schemas.errors import EngineError


class TorchBackend(EngineBackend):
    """Runs the PyTorch module of a bundle in float32; TF32 is off, as PyTorch has it.

    Args:
        bundle: verified, of a model with a module; see `engines.models.modules`.
        threads: of one run on the CPU. They are PyTorch's own, so those of the whole process.
        compiled: by ``torch.compile``, which wants a C++ compiler, or Triton on a GPU.

    Raises:
        EngineError: PyTorch is not installed.
    """

    def __init__(self, bundle: Bundle, threads: int = 1, *, compiled: bool = False) -> None:
        super().__init__(bundle, threads)
        try:
            import torch
        except ImportError as error:
            raise EngineError(
                "PyTorch is missing",
                expected="headrace with its extra train",
                received=str(error),
                fix="pip install 'headrace[train]'",
            ) from error
        self._torch = torch
        self._device: Device = "cuda" if torch.cuda.is_available() else "cpu"
        self._compiled = compiled
        self._module: Any = None
        self._tables: dict[str, Any] = {}
        self._loaded = ExitStack()

    @property
    def device(self) -> Device:
        """Where the model is run."""
        return self._device

    def _activate_impl(self) -> None:
        torch, device = self._torch, self._device
        tables = self.bundle.tables.items()
        with ExitStack() as loading, self._failures():
            loading.callback(torch.cuda.empty_cache)  # does nothing where there is no GPU
            self._module = module_of(self.bundle).to(device)
            self._tables = {name: torch.tensor(table, device=device) for name, table in tables}
            loading.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(self.threads)
            if self._compiled:
                # It keeps code for eight shapes of a module, and refuses a ninth.
                loading.callback(torch.compiler.reset)
                self._compile()
            self._loaded = loading.pop_all()

    def _compile(self) -> None:
        self._module = self._torch.compile(self._module, fullgraph=True, dynamic=False)
        try:
            self._forward(self._padded)
        except Exception as error:  # its compilers have no common base below Exception
            raise EngineError(
                f"torch.compile cannot compile {self.bundle.label}",
                expected="a C++ compiler, or Triton on a GPU",
                received=f"{type(error).__name__}: {error}".splitlines()[0],
                fix="install it, or run the module as it is",
            ) from error

    def _deactivate_impl(self) -> None:
        self._module, self._tables = None, {}
        self._loaded.close()

    def _run_impl(self, inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        with self._failures():
            return self._forward(inputs)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Makes errors of PyTorch, such as out of memory, our own."""
        try:
            yield
        except RuntimeError as error:
            raise EngineError(
                f"PyTorch fails on {self.bundle.label}", received=str(error)
            ) from error

    def _forward(self, inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        torch, device = self._torch, self._device
        with torch.inference_mode():
            given = {name: torch.from_numpy(array).to(device) for name, array in inputs.items()}
            return [output.cpu().numpy() for output in self._module(**given, **self._tables)]

    def _runtime_impl(self) -> list[str]:
        name = "torch.compile" if self._compiled else "torch"
        on_gpu = self._device == "cuda"
        where = [self._torch.cuda.get_device_name()] if on_gpu else instruction_set()
        return [name, self._torch.__version__, *where]

"""ONNX Runtime on the CPU: the default backend."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from engines.backends.base import Device, EngineBackend
from engines.backends.constants import Constants, with_tables
from engines.bundle import Bundle
from schemas.errors import EngineError

OUTPUTS = ["scores", "items", "channels"]
ISA_PREFIXES = ("amx", "asimd", "avx", "bf16", "f16c", "fma", "i8mm", "neon", "sse4", "sve")
"""CPU flags by which ONNX Runtime chooses its kernels."""


PROVIDERS: dict[Device, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxBackend(EngineBackend):
    """Runs ``model.onnx`` on ``threads`` threads, operator after operator.

    Args:
        bundle: verified.
        threads: of one run, 1 or more.
        device: "cuda" wants an ONNX Runtime that was built for it; only the bench asks for it.

    Raises:
        EngineError: this ONNX Runtime cannot use the device.
    """

    _session: Any = None
    _tables: Constants

    def __init__(self, bundle: Bundle, threads: int = 1, device: Device = "cpu") -> None:
        super().__init__(bundle, threads)
        self._device = device
        import onnxruntime

        self._check_provider(onnxruntime.get_available_providers())

    @property
    def device(self) -> Device:
        """Where the model is run."""
        return self._device

    def _activate_impl(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3  # errors
        options.use_deterministic_compute = True
        # Waiting threads sleep: the cores belong to Flink in the meantime.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # What is stored as int8 becomes float32 here, once. Otherwise every batch would restore it
        # anew, or multiply int8: on AVX2 that is no quicker, and overflows 16 bits.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        try:
            # A GPU would be sent at every run what it is to hold.
            model, constants = with_tables(self.bundle, fed=self._device == "cpu")
            tables = self.bundle.tables  # outlive the session, which reads them and their views
            self._tables = {name: tables[name] for name in tables.keys() - constants}
            values = list(map(onnxruntime.OrtValue.ortvalue_from_numpy, constants.values()))
            options.add_external_initializers(list(constants), values)
            self._session = onnxruntime.InferenceSession(
                model, options, providers=[PROVIDERS[self._device]]
            )
        except Exception as error:  # ONNX Runtime has no common base below Exception
            raise EngineError(
                f"ONNX Runtime cannot load the engine {self.bundle.label}",
                expected=f"a model that onnxruntime {onnxruntime.__version__} can run",
                received=str(error).splitlines()[0],
                fix="export it again with this version of headrace",
            ) from error

        # It goes on with the CPU where a library of CUDA is missing, and only logs that.
        self._check_provider(self._session.get_providers())

    def _check_provider(self, found: Sequence[str]) -> None:
        if PROVIDERS[self._device] not in found:
            raise EngineError(
                f"ONNX Runtime cannot use {self._device}",
                expected=PROVIDERS[self._device],
                received=", ".join(found),
                fix="on a machine with a GPU: pip install onnxruntime-gpu instead of onnxruntime",
            )

    def _deactivate_impl(self) -> None:
        self._session = None

    def _run_impl(self, inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        try:
            outputs: list[NDArray[Any]] = self._session.run(OUTPUTS, {**inputs, **self._tables})
        except Exception as error:  # as above
            raise EngineError(
                f"the engine {self.bundle.label} failed on a batch", received=str(error)
            ) from error
        return outputs

    def _runtime_impl(self) -> list[str]:
        import onnxruntime

        on = [] if self._device == "cpu" else [self._device]
        return ["onnxruntime", onnxruntime.__version__, *on, *instruction_set()]


def instruction_set() -> list[str]:
    """The machine and its sorted vector instructions, such as ["x86_64", "avx2", "fma"]."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux: the processor's name stands for its instructions
        return [platform.machine(), platform.processor()]
    found = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    flags = found.partition(":")[2].split()
    return [platform.machine(), *sorted(flag for flag in flags if flag.startswith(ISA_PREFIXES))]

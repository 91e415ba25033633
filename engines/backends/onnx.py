"""ONNX Runtime on the CPU: the default backend."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from engines.backends.base import EngineBackend
from engines.bundle import Bundle
from schemas.errors import EngineError

OUTPUTS = ["scores", "items", "channels"]
ISA_PREFIXES = ("amx", "asimd", "avx", "bf16", "f16c", "fma", "i8mm", "neon", "sse4", "sve")
"""CPU flags by which ONNX Runtime chooses its kernels."""


class OnnxBackend(EngineBackend):
    """Runs ``model.onnx`` on ``threads`` threads, operator after operator."""

    _session: Any = None

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
            self._session = onnxruntime.InferenceSession(
                with_tables(self.bundle), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime has no common base below Exception
            raise EngineError(
                f"ONNX Runtime cannot load the engine {self.bundle.label}",
                expected=f"a model that onnxruntime {onnxruntime.__version__} can run",
                received=str(error).splitlines()[0],
                fix="export it again with this version of headrace",
            ) from error

    def _deactivate_impl(self) -> None:
        self._session = None

    def _run_impl(self, inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        try:
            outputs: list[NDArray[Any]] = self._session.run(OUTPUTS, inputs)
        except Exception as error:  # as above
            raise EngineError(
                f"the engine {self.bundle.label} failed on a batch", received=str(error)
            ) from error
        return outputs

    def _runtime_impl(self) -> list[str]:
        import onnxruntime

        return ["onnxruntime", onnxruntime.__version__, *instruction_set()]


def with_tables(bundle: Bundle) -> bytes:
    """The model with the tables as constants, which ONNX Runtime lays out once, at its loading."""
    if not bundle.tables:
        return bundle.model
    import onnx

    model = onnx.load_model_from_string(bundle.model)
    inputs = [value for value in model.graph.input if value.name not in bundle.tables]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    for name, array in bundle.tables.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return bytes(model.SerializeToString())


def instruction_set() -> list[str]:
    """The machine and its sorted vector instructions, such as ["x86_64", "avx2", "fma"]."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux: the processor's name stands for its instructions
        return [platform.machine(), platform.processor()]
    found = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    flags = found.partition(":")[2].split()
    return [platform.machine(), *sorted(flag for flag in flags if flag.startswith(ISA_PREFIXES))]

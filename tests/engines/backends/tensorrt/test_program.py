"""Loading a plan: what TensorRT says, on an interface that plays its part (the real one crashes
without a driver)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engines.backends.tensorrt.api import Flavour, TensorRT
from engines.backends.tensorrt.program import Program, refusal
from engines.bundle import Bundle
from schemas.errors import EngineError
from tests.engines.backends.conftest import opened
from tests.engines.backends.tensorrt.fake_gpu import VERSION, planned


class Validity(Enum):
    VALID, SUBOPTIMAL, INVALID = range(3)


class Diagnostics(IntEnum):
    VERSION_MISMATCH, UNSUPPORTED_CC, OLD_CUDA_DRIVER = 1, 2, 4


@dataclass
class Played:
    """A package of TensorRT.

    Attributes:
        signature: name -> dtype and shape, of the plan that it loads; None: it loads none.
        room: whether contexts can be made.
        runs: whether they run.
        validity, diagnostics: of a plan, by its header.
        addresses: that were set.
        config: that a context was made with.
    """

    signature: dict[str, tuple[str, list[int]]] | None
    room: bool = True
    runs: bool = True
    validity: Validity = Validity.VALID
    diagnostics: int = 0
    addresses: dict[str, int] = field(default_factory=dict)
    config: Any = None

    def package(self, flavour: Flavour = "tensorrt") -> TensorRT:
        module = SimpleNamespace(
            __version__=VERSION,
            Runtime=lambda logger: self,
            nptype=lambda dtype: dtype,
            EngineValidity=Validity,
            EngineInvalidityDiagnostics=Diagnostics,
            CudaGraphStrategy=SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole"),
        )
        return TensorRT(flavour, module, None, deque(["it is what it is", "and so"]))

    # The runtime
    engine_header_size = 4

    def get_engine_validity(self, header: bytes) -> tuple[Validity, int]:
        assert header == b"a pl"
        return self.validity, self.diagnostics

    def deserialize_cuda_engine(self, data: bytes) -> Any:
        assert data == b"a plan"
        return None if self.signature is None else self

    # The engine
    @property
    def num_io_tensors(self) -> int:
        assert self.signature is not None
        return len(self.signature)

    def get_tensor_name(self, number: int) -> str:
        assert self.signature is not None
        return list(self.signature)[number]

    def get_tensor_dtype(self, name: str) -> Any:
        assert self.signature is not None
        return np.dtype(self.signature[name][0])

    def get_tensor_shape(self, name: str) -> list[int]:
        assert self.signature is not None
        return self.signature[name][1]

    def create_runtime_config(self) -> Any:
        return SimpleNamespace()

    def create_execution_context(self, config: Any = None) -> Any:
        self.config = config
        return self if self.room else None

    # The context
    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        return self.runs


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, content: Bundle) -> Bundle:
    return opened(tmp_path_factory.mktemp("store"), planned(content))


def signature(bundle: Bundle) -> dict[str, tuple[str, list[int]]]:
    manifest = bundle.manifest
    tensors = [*manifest.inputs, *manifest.tables, *manifest.outputs]
    return {tensor.name: (tensor.dtype, tensor.shape) for tensor in tensors}


def loaded(bundle: Bundle, played: Played, flavour: Flavour = "tensorrt") -> Program:
    return Program(played.package(flavour), bundle, bundle.manifest.plans[0])


def test_a_sound_plan_is_loaded_and_run(bundle: Bundle) -> None:
    played = Played(signature(bundle))
    loaded(bundle, played).context({"item": 4096}).enqueue(1)
    assert played.addresses == {"item": 4096}
    assert played.config is None


def test_tensorrt_rtx_is_told_to_make_graphs(bundle: Bundle) -> None:
    played = Played(signature(bundle))
    loaded(bundle, played, "tensorrt_rtx").context({})
    assert played.config.cuda_graph_strategy == "whole"


def test_tensorrt_rtx_makes_none_if_none_are_wanted(bundle: Bundle) -> None:
    played = Played(signature(bundle))
    plan = bundle.manifest.plans[0]
    Program(played.package("tensorrt_rtx"), bundle, plan, graphs=False).context({})
    assert played.config is None


def test_a_plan_that_is_not_loaded_is_an_error(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match=r"cannot load model\.[\s\S]*it is what[\s\S]*fix: "):
        loaded(bundle, Played(None))


@pytest.mark.parametrize("name", ["item", "item_vectors", "scores"])
@pytest.mark.parametrize("change", ["shape", "dtype", "gone"])
def test_a_plan_of_other_tensors_is_an_error(bundle: Bundle, name: str, change: str) -> None:
    tensors = signature(bundle)
    dtype, shape = tensors.pop(name)
    if change != "gone":
        tensors[name] = (dtype, [*shape, 2]) if change == "shape" else ("int8", shape)
    with pytest.raises(EngineError, match="is another model"):
        loaded(bundle, Played(tensors))


def test_no_room_for_a_context_is_an_error(bundle: Bundle) -> None:
    program = loaded(bundle, Played(signature(bundle), room=False))
    with pytest.raises(EngineError, match=r"no room on the GPU[\s\S]*it is what it is"):
        program.context({})


def test_a_batch_that_is_not_taken_is_an_error(bundle: Bundle) -> None:
    context = loaded(bundle, Played(signature(bundle), runs=False)).context({})
    with pytest.raises(EngineError, match=r"failed on a batch[\s\S]*it is what it is"):
        context.enqueue(1)


@pytest.mark.parametrize(
    ("validity", "diagnostics", "refused"),
    [
        (Validity.VALID, 0, ""),
        (Validity.SUBOPTIMAL, 0, ""),
        (Validity.INVALID, 6, "TensorRT-RTX says UNSUPPORTED_CC, OLD_CUDA_DRIVER"),
        (Validity.INVALID, 0, "TensorRT-RTX says it is what it is"),
    ],
)
def test_tensorrt_rtx_is_asked_whether_it_would(
    validity: Validity, diagnostics: int, refused: str
) -> None:
    played = Played(None, validity=validity, diagnostics=diagnostics)
    assert refusal(played.package("tensorrt_rtx"), b"a plan") == refused
    assert refusal(played.package("tensorrt"), b"a plan") == ""

"""Is there a GPU, and a driver that is new enough? Asked of ``libcuda`` before anything else.

TensorRT must not be asked: a ``Runtime`` that is made without a driver ends the process.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from schemas.errors import EngineError

LIBRARY = "libcuda.so.1"
MIN_CUDA = (13, 0)
"""What the packages of the extras are built for (their names end in cu13); driver 580 speaks it."""

COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR = 75, 76
"""Of ``CUdevice_attribute`` in cuda.h."""


@dataclass(frozen=True)
class Gpu:
    """The first GPU that this process may see.

    Args:
        name: as the driver calls it, such as "NVIDIA H200".
        capability: compute capability, such as (9, 0).
        cuda: newest CUDA version that the driver speaks, such as (13, 0).
    """

    name: str
    capability: tuple[int, int]
    cuda: tuple[int, int]

    @property
    def slug(self) -> str:
        """The GPU in names of files.

        >>> Gpu("NVIDIA H100 80GB HBM3", (9, 0), (13, 0)).slug
        'nvidia_h100_80gb_hbm3-sm90'
        """
        name = re.sub(r"[^a-z0-9]+", "_", self.name.lower()).strip("_")
        return f"{name}-sm{self.capability[0]}{self.capability[1]}"

    def __str__(self) -> str:
        return f"{self.name} with a driver for CUDA {version(self.cuda)}"


def version(pair: tuple[int, int]) -> str:
    """``major.minor``."""
    return f"{pair[0]}.{pair[1]}"


def find_gpu(load: Callable[[str], Any] = ctypes.CDLL) -> Gpu:
    """The GPU of this process.

    Args:
        load: opens a shared library.

    Raises:
        EngineError: no driver, none that is new enough, or no GPU that it shows us.
    """
    try:
        library = load(LIBRARY)
    except OSError as error:
        raise _refusal("there is no NVIDIA driver", str(error)) from error
    speaks = _number(library, "cuDriverGetVersion")
    cuda = speaks // 1000, speaks % 1000 // 10
    if cuda < MIN_CUDA:
        raise _refusal("the NVIDIA driver is too old", f"one for CUDA {version(cuda)}")
    _check(library, "cuInit", 0)
    if _number(library, "cuDeviceGetCount") < 1:
        raise _refusal("there is no GPU", "a driver that shows none")
    device = _number(library, "cuDeviceGet", 0)
    name = ctypes.create_string_buffer(256)
    _check(library, "cuDeviceGetName", name, len(name), device)
    major, minor = (
        _number(library, "cuDeviceGetAttribute", attribute, device)
        for attribute in (COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR)
    )
    return Gpu(name.value.decode(), (major, minor), cuda)


def _number(library: Any, function: str, *arguments: Any) -> int:
    """What a function writes into the ``int`` that its first argument points to."""
    found = ctypes.c_int()
    _check(library, function, ctypes.byref(found), *arguments)
    return found.value


def _check(library: Any, function: str, *arguments: Any) -> None:
    if status := getattr(library, function)(*arguments):
        raise _refusal("the NVIDIA driver does not answer", f"{function}: CUDA error {status}")


def _refusal(what: str, received: str) -> EngineError:
    return EngineError(
        f"TensorRT cannot be used: {what}",
        expected=f"a GPU and its driver for CUDA {version(MIN_CUDA)} or newer (580 or newer)",
        received=received,
        fix="install the driver, or set engine.backend = onnx",
    )

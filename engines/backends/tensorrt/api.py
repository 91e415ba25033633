"""TensorRT 10.16 to 11 and TensorRT-RTX as one. Imported only when a plan is built or run.

                 tensorrt                        tensorrt_rtx
builds plans     on the GPU that they are for    anywhere, without a GPU too
a plan runs on   that GPU and TensorRT alone     any GPU since Ampere; compiled when it is loaded
timing cache     yes                             not needed
CUDA graphs      captured by us, see graph       by itself
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from typing import Any, Literal, get_args

from schemas.errors import EngineError

log = logging.getLogger(__name__)

Flavour = Literal["tensorrt", "tensorrt_rtx"]
"""Names of the packages."""

MIN_VERSION = {"tensorrt": (10, 16), "tensorrt_rtx": (1, 4)}
END_VERSION = {"tensorrt": (12,), "tensorrt_rtx": (2,)}
EXTRAS = {"tensorrt": "tensorrt", "tensorrt_rtx": "rtx"}


@dataclass(frozen=True, eq=False)
class TensorRT:
    """One of the packages.

    Args:
        flavour: which.
        module: it.
        logger: what it tells its messages; lives as long as it does.
        messages: the last errors that it told.
    """

    flavour: Flavour
    module: Any
    logger: Any
    messages: deque[str] = field(repr=False)

    @property
    def version(self) -> str:
        """Such as "11.4.0.106". A plan is for exactly one."""
        return str(self.module.__version__)

    @property
    def portable(self) -> bool:
        """Whether a plan is for GPUs of many kinds, and built without one."""
        return self.flavour == "tensorrt_rtx"

    def __str__(self) -> str:
        return f"{self.flavour} {self.version}"

    def blamed(self, otherwise: str) -> str:
        """The first of its errors since this was asked last, from which the others follow."""
        first = self.messages[0] if self.messages else otherwise
        self.messages.clear()
        return " ".join(first.split())[:300]


def installed() -> list[TensorRT]:
    """The packages that are there and can be used, ``tensorrt`` first.

    Raises:
        EngineError: none is.
    """
    found, reasons = [], []
    for flavour in get_args(Flavour):
        try:
            found.append(load(flavour))
        except EngineError as error:
            reasons.append(error.received)
    if not found:
        raise _missing("TensorRT", "; ".join(reasons), "tensorrt")
    return found


@lru_cache(maxsize=2)
def load(flavour: Flavour) -> TensorRT:
    """Import one of the packages.

    Raises:
        EngineError: it is not there, its libraries are not, or it is of another version.
    """
    try:
        module = import_module(flavour)
    except (ImportError, OSError) as error:  # OSError: its libraries
        raise _missing(flavour, f"{flavour}: {error}", EXTRAS[flavour]) from error
    found = tuple(int(part) for part in module.__version__.split(".")[:2])
    if not MIN_VERSION[flavour] <= found < END_VERSION[flavour]:
        raise _missing(flavour, f"{flavour} {module.__version__}", EXTRAS[flavour])
    messages: deque[str] = deque(maxlen=20)
    return TensorRT(flavour, module, _logger(module, messages), messages)


def _logger(module: Any, messages: deque[str]) -> Any:
    """Hands on to ``logging`` what TensorRT says, and keeps the errors."""
    errors = module.ILogger.INTERNAL_ERROR, module.ILogger.ERROR

    class Logger(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in errors:
                messages.append(message)
            log.debug("%s: %s", module.__name__, message)

    return Logger()


def _missing(what: str, received: str, extra: str) -> EngineError:
    ranges = (
        f"{flavour} {low[0]}.{low[1]} or newer, before {END_VERSION[flavour][0]}"
        for flavour, low in MIN_VERSION.items()
    )
    return EngineError(
        f"{what} cannot be used",
        expected=", or ".join(ranges),
        received=received,
        fix=f"pip install 'headrace[{extra}]'",
    )

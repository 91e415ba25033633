"""What can run an engine, and which of them does."""

from __future__ import annotations

import logging

from engines.backends.base import EngineBackend
from engines.backends.onnx import OnnxBackend
from engines.bundle import Bundle
from schemas.errors import EngineError

log = logging.getLogger(__name__)


def open_backend(bundle: Bundle, threads: int = 1, backend: str = "auto") -> EngineBackend:
    """The backend of a bundle, not loaded yet.

    Args:
        bundle: verified.
        threads: of one run on the CPU.
        backend: ``onnx``; ``tensorrt``; or ``auto``: TensorRT if the bundle has a plan that fits
            this machine, and else ONNX Runtime.

    Raises:
        EngineError: TensorRT is asked for by name, and cannot be used.
    """
    if backend == "onnx" or (backend == "auto" and not bundle.plans):
        return OnnxBackend(bundle, threads)
    from engines.backends.tensorrt.runner import TensorrtBackend

    try:
        return TensorrtBackend(bundle, threads)
    except EngineError as error:
        if backend == "tensorrt":
            raise
        log.info("ONNX Runtime runs %s: %s", bundle.label, error)
    return OnnxBackend(bundle, threads)

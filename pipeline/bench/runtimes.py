"""What can run an engine in the bench, by name. A job takes none but `engine.backend`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from engines.backends import open_backend
from engines.backends.base import EngineBackend
from engines.backends.onnx import OnnxBackend
from engines.bundle import Bundle
from pipeline.bench.candidates import Candidate, Group, PlanOf, Tell, why
from schemas.errors import EngineError


@dataclass(frozen=True, eq=False)
class Run:
    """An engine, and what runs it.

    Args:
        candidate: the engine.
        runtime: in RUNTIMES.
        backend: loaded and warm; None: it cannot be.
        missing: why; empty if it can.
    """

    candidate: Candidate
    runtime: str
    backend: EngineBackend | None
    missing: str = ""


def load(
    group: Group, runtimes: Sequence[str], threads: int, loaded: ExitStack, tell: Tell
) -> list[Run]:
    """Every engine of a group by every runtime, engine after engine.

    Args:
        runtimes: names in RUNTIMES.
        threads: of one engine call.
        loaded: closes the backends.
        tell: told of the progress.

    Raises:
        EngineError: only one runtime is asked for, and cannot run an engine.
    """
    pairs = [(candidate, name) for candidate in group.candidates for name in runtimes]
    runs = []
    for done, (candidate, name) in enumerate(pairs):
        tell("loading", done, len(pairs))
        if candidate.missing:
            runs.append(Run(candidate, name, None, candidate.missing))
            continue
        try:
            backend = RUNTIMES[name](candidate.bundle, threads, group.plan_of)
            loaded.enter_context(backend).warm_up()
            runs.append(Run(candidate, name, backend))
        except EngineError as error:
            if len(runtimes) == 1:
                raise
            runs.append(Run(candidate, name, None, why(error)))
    return runs


def _torch(bundle: Bundle, threads: int, plan_of: PlanOf, *, compiled: bool) -> EngineBackend:
    from engines.backends.torch_ import TorchBackend

    return TorchBackend(bundle, threads, compiled=compiled)


def _tensorrt(bundle: Bundle, threads: int, plan_of: PlanOf, *, graphs: bool) -> EngineBackend:
    from engines.backends.tensorrt.runner import TensorrtBackend

    backend = TensorrtBackend(plan_of(bundle), threads, graphs=graphs)
    if backend.graphs != graphs:
        raise EngineError(
            "CUDA graphs are missing",
            expected="the package cuda-bindings",
            received="no cuda-bindings",
            fix="pip install 'headrace[tensorrt]', or ask for tensorrt-no-graphs",
        )
    return backend


RUNTIMES: dict[str, Callable[[Bundle, int, PlanOf], EngineBackend]] = {
    "auto": lambda bundle, threads, _: open_backend(bundle, threads, "auto"),
    "onnx": lambda bundle, threads, _: OnnxBackend(bundle, threads),
    "onnx-cuda": lambda bundle, threads, _: OnnxBackend(bundle, threads, "cuda"),
    "tensorrt": partial(_tensorrt, graphs=True),
    "tensorrt-no-graphs": partial(_tensorrt, graphs=False),
    "torch": partial(_torch, compiled=False),
    "torch-compiled": partial(_torch, compiled=True),
}

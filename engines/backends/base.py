"""The life of an engine in memory, whatever runs it.

    with OnnxBackend(bundle) as backend:    # load
        backend.warm_up()                   # first run, and a trial that rows do not mix
        ranked = backend.run(features)      # any number of rows

Public methods validate, the ``_impl`` ones trust them. Every run of the model has the bundle's one
batch shape, padded with zero rows or looped: only so is a list the same whatever its neighbours.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from schemas.errors import EngineError

Tensors: TypeAlias = Mapping[str, NDArray[Any]]
Device = Literal["cpu", "cuda"]


@dataclass(frozen=True, eq=False)
class RankedBatch:
    """Lists of ``n`` users, best first.

    Args:
        items: int64 [n, k] catalogue index; 0 where the list has ended.
        scores: float32 [n, k], falling; -inf where the list has ended.
        channels: int64 [n, k] index into the manifest's ``channels``.
    """

    items: NDArray[np.int64]
    scores: NDArray[np.float32]
    channels: NDArray[np.int64]


class EngineBackend(ABC):
    """Runs the model of one bundle.

    Args:
        bundle: verified.
        threads: of one run, 1 or more.
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        if threads < 1:
            raise EngineError("bad number of threads", expected="1 or more", received=f"{threads}")
        self.bundle = bundle
        self.threads = threads
        self._active = False
        # One padded batch per input, written over by every run.
        self._padded = {
            tensor.name: np.zeros(tensor.shape, tensor.dtype) for tensor in bundle.manifest.inputs
        }

    def __enter__(self) -> EngineBackend:
        self.activate()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.deactivate()

    def activate(self) -> None:
        """Load the model. Does nothing when it is loaded.

        Raises:
            EngineError: the runtime refuses it.
        """
        if not self._active:
            self._activate_impl()
            self._active = True

    def deactivate(self) -> None:
        """Give its memory back. Does nothing when it is not loaded."""
        if self._active:
            self._deactivate_impl()
            self._active = False

    @property
    def runtime(self) -> str:
        """What runs the model, such as "onnxruntime"."""
        return self._runtime_impl()[0]

    @property
    def device(self) -> Device:
        """Where the model is run."""
        return "cpu"

    @property
    def runtime_digest(self) -> bytes:
        """First 8 bytes of the SHA-256 of what may change a last bit: runtime, machine, shape."""
        batch = self.bundle.manifest.batch
        facts = [*self._runtime_impl(), f"batch={batch}", f"threads={self.threads}"]
        return hashlib.sha256(json.dumps(facts).encode()).digest()[:8]

    def run(self, features: Tensors) -> RankedBatch:
        """Rank all items for ``n`` users.

        Args:
            features: of ``engines.features.features``; what the model has no input for is ignored.

        Returns:
            lists of ``n`` users, in arrays that the caller owns.

        Raises:
            EngineError: not loaded, a feature missing or of another dtype or width, scores that are
                NaN, or items outside the catalogue.
        """
        inputs, rows = self._checked(features)
        batch, k = self.bundle.manifest.batch, self.bundle.manifest.k
        lists: tuple[NDArray[Any], ...] = tuple(
            np.empty((rows, k), dtype) for dtype in (np.float32, np.int64, np.int64)
        )
        parts = [slice(start, min(start + batch, rows)) for start in range(0, rows, batch)]
        found = self._run_each_impl(self._shaped(inputs, part) for part in parts)
        for part, outputs in zip(parts, found, strict=True):
            for whole, output in zip(lists, outputs, strict=True):
                whole[part] = output[: part.stop - part.start]
        scores, items, channels = lists
        self._check_outputs(scores, items, channels)
        items[np.isneginf(scores)] = 0
        return RankedBatch(items, scores, channels)

    def warm_up(self) -> None:
        """Run the model on one batch of made-up profiles, and try whether its rows mix.

        The first and the last row are run again alone, and all rows moved on by one place.

        Raises:
            EngineError: a row's list changed with its neighbours or its place in the batch.
        """
        probe = self._probe()
        together = self.run(probe)
        places = np.arange(self.bundle.manifest.batch)
        for rows in (places[:1], places[-1:], np.roll(places, 1)):
            again = self.run({name: values[rows] for name, values in probe.items()})
            for place, row in enumerate(rows):
                if _bytes(again, place) != _bytes(together, row):
                    raise EngineError(
                        f"the engine {self.bundle.label} mixes the rows of a batch",
                        expected="every list computed from its own row alone",
                        received=f"row {row} scored differently in place {place} of {len(rows)}",
                        fix="export it without dynamic quantisation",
                    )

    def _checked(self, features: Tensors) -> tuple[dict[str, NDArray[Any]], int]:
        if not self._active:
            raise EngineError(
                "the engine is not loaded", fix="use the backend in a `with` block, or activate it"
            )
        inputs: dict[str, NDArray[Any]] = {}
        rows = set()
        for tensor in self.bundle.manifest.inputs:
            value = features.get(tensor.name)
            width = (tensor.shape[1],)
            if value is None or value.dtype != tensor.dtype or value.shape[1:] != width:
                found = "nothing" if value is None else f"{value.dtype} {list(value.shape)}"
                raise EngineError(
                    f"the feature {tensor.name} does not fit the engine {self.bundle.label}",
                    expected=f"{tensor.dtype} [n, {tensor.shape[1]}]",
                    received=found,
                    fix="make the features with engines.features.features",
                )
            inputs[tensor.name] = value
            rows.add(len(value))
        if len(rows) != 1:
            raise EngineError(
                "features of different length", expected="n rows each", received=str(sorted(rows))
            )
        return inputs, rows.pop()

    def _shaped(self, inputs: dict[str, NDArray[Any]], part: slice) -> dict[str, NDArray[Any]]:
        """Rows ``part`` in the fixed batch shape; views where they fill it."""
        size = part.stop - part.start
        if size == self.bundle.manifest.batch:
            return {name: np.ascontiguousarray(value[part]) for name, value in inputs.items()}
        for name, value in inputs.items():
            self._padded[name][:size] = value[part]
            self._padded[name][size:] = 0
        return self._padded

    def _check_outputs(
        self, scores: NDArray[np.float32], items: NDArray[np.int64], channels: NDArray[np.int64]
    ) -> None:
        if np.isnan(scores).any():
            raise EngineError(
                f"the engine {self.bundle.label} made scores that are not numbers",
                expected="no NaN",
                received=f"NaN in {int(np.isnan(scores).any(axis=1).sum())} of {len(scores)} lists",
                fix="activate another engine",
            )
        listed = scores > -np.inf
        self._check_range("items", items[listed], 1, len(self.bundle.catalogue))
        self._check_range("channels", channels[listed], 0, len(self.bundle.manifest.channels) - 1)

    def _check_range(self, what: str, values: NDArray[np.int64], low: int, high: int) -> None:
        if values.size and not low <= values.min() <= values.max() <= high:
            raise EngineError(
                f"the engine {self.bundle.label} listed unknown {what}",
                expected=f"{low}..{high}",
                received=f"{values.min()}..{values.max()}",
                fix="activate another engine",
            )

    def _probe(self) -> dict[str, NDArray[Any]]:
        """One batch of made-up features, the same at every call."""
        random = np.random.default_rng(0)
        above = {"item": len(self.bundle.catalogue) + 1, "event_type": 12, "gap_s": 1 << 20}
        probe = {}
        for tensor in self.bundle.manifest.inputs:
            values = random.integers(0, above.get(tensor.name, above["item"]), tensor.shape)
            probe[tensor.name] = values.astype(tensor.dtype)
        return probe

    @abstractmethod
    def _activate_impl(self) -> None: ...

    @abstractmethod
    def _deactivate_impl(self) -> None: ...

    @abstractmethod
    def _run_impl(self, inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """``scores``, ``items``, ``channels`` [B, k] of exactly one batch; read before the next."""

    def _run_each_impl(
        self, batches: Iterable[dict[str, NDArray[Any]]]
    ) -> Iterator[list[NDArray[Any]]]:
        """`_run_impl` of each; a batch may change once the next is asked for.

        For backends that can begin a batch before the one before is done.
        """
        return map(self._run_impl, batches)

    @abstractmethod
    def _runtime_impl(self) -> list[str]:
        """The facts of backend, version and machine that go into ``runtime_digest``."""


def _bytes(ranked: RankedBatch, row: int) -> tuple[bytes, bytes, bytes]:
    return (
        ranked.items[row].tobytes(),
        ranked.scores[row].tobytes(),
        ranked.channels[row].tobytes(),
    )

"""An engine as a worker uses it: loaded, warmed up, and with the encoder of its lists.

TensorRT on the GPU ──fails to load, or at a batch──▶ ONNX Runtime on the CPU, degrade_level 1
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.active import Active
from engines.backends import open_backend
from engines.backends.base import EngineBackend, RankedBatch, Tensors
from engines.backends.onnx import OnnxBackend
from engines.features import features
from engines.registry import Registry
from schemas.errors import EngineError
from udfs.encode import EngineStamp, ListEncoder
from udfs.request import Requests

log = logging.getLogger(__name__)

FULL, ON_THE_CPU = 0, 1
"""What ``degrade_level`` says of a list."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How an engine is opened.

    Attributes:
        store: registry folder of the engine bundles.
        threads: threads of one engine call.
        job_epoch: stamped on every list.
        list_header: what starts every list, before the Avro binary.
        backend: of `open_backend`.
    """

    store: Path
    threads: int
    job_epoch: int
    list_header: bytes
    backend: str = "auto"


class Engine:
    """An open engine and the encoder for its lists. Serves one thread at a time.

    Args:
        active: which one.
        settings: how to open it.

    Attributes:
        active: as given.
        batch: rows that the model is always run with.
        degrade_level: of the lists that it makes now: FULL, or ON_THE_CPU once the GPU has failed.

    Raises:
        EngineError, BundleRefused: its bundle is not sound, its model cannot be run, or the backend
            that is asked for by name cannot be used.
    """

    def __init__(self, active: Active, settings: EngineSettings) -> None:
        self.active = active
        self._settings = settings
        self._bundle = Registry(settings.store).open_exactly(active)
        self.batch = self._bundle.manifest.batch
        self._spare: EngineBackend | None = None
        backend = open_backend(self._bundle, settings.threads, settings.backend)
        try:
            self._use(_warmed_up(backend), FULL)
        except EngineError as error:
            if isinstance(backend, OnnxBackend):
                raise
            self._give_up(backend, error)
            self._use(self._on_the_cpu(), ON_THE_CPU)

    def rank(self, requests: Requests) -> RankedBatch:
        """The lists of ``[n]`` requests with a profile each.

        Raises:
            EngineError: the engine gave NaN, or failed, on the CPU too.
        """
        slots = self._bundle.manifest.history_slots
        tensors = features(requests.histories(slots), self._bundle.catalogue)
        try:
            return self._backend.run(tensors)
        except EngineError as error:
            if isinstance(self._backend, OnnxBackend):
                raise
            return self._rank_on_the_cpu(tensors, error)

    def rows(self, requests: Requests) -> int:
        """How many rows the model is run on for these, pads among them: what time goes by."""
        return -(-len(requests) // self.batch) * self.batch

    def encode(self, users: Sequence[str], requests: Requests, ranked: RankedBatch) -> list[bytes]:
        """``[n]`` Avro values of what `rank` gave last."""
        return self._encoder.encode(users, requests, ranked)

    def hashes(self, ranked: RankedBatch) -> NDArray[np.uint64]:
        """Item hashes uint64 [n, k] of lists, 0 where one has ended: the same in every engine."""
        hashes: NDArray[np.uint64] = self._bundle.catalogue.hashes[ranked.items]
        return hashes

    def close(self) -> None:
        """Give its memory back."""
        self._backend.deactivate()
        if self._spare:
            self._spare.deactivate()

    def _use(self, backend: EngineBackend, degrade_level: int) -> None:
        """Rank with a backend that is warmed up, and stamp its lists."""
        self._backend = backend
        self.degrade_level = degrade_level
        stamp = EngineStamp(
            header=self._settings.list_header,
            engine=self._bundle.label,
            digest=self._bundle.digest,
            seq=self.active.engine_seq,
            runtime=backend.runtime_digest,
            job_epoch=self._settings.job_epoch,
            degrade_level=degrade_level,
        )
        catalogue, manifest = self._bundle.catalogue, self._bundle.manifest
        self._encoder = ListEncoder(stamp, catalogue.item_ids.tolist(), manifest.channels)

    def _on_the_cpu(self) -> EngineBackend:
        if self._spare is None:  # else a request at which both fail would load it each time
            self._spare = _warmed_up(OnnxBackend(self._bundle, self._settings.threads))
        return self._spare

    def _rank_on_the_cpu(self, tensors: Tensors, error: EngineError) -> RankedBatch:
        """The lists at which the GPU failed; it is given up if the CPU can make them."""
        failed, spare = self._backend, self._on_the_cpu()
        ranked = spare.run(tensors)  # fails too if model or requests are to blame
        self._use(spare, ON_THE_CPU)
        self._give_up(failed, error)
        return ranked

    def _give_up(self, failed: EngineBackend, error: EngineError) -> None:
        log.warning("%s goes on on the CPU: %s", self._bundle.label, error)
        try:
            failed.deactivate()
        except EngineError as again:  # of a driver that is gone
            log.warning("%s cannot leave the GPU: %s", self._bundle.label, again)


def _warmed_up(backend: EngineBackend) -> EngineBackend:
    backend.activate()
    backend.warm_up()
    return backend

"""An engine as a worker uses it: loaded, warmed up, and with the encoder of its lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.active import Active
from engines.backends.base import RankedBatch
from engines.backends.onnx import OnnxBackend
from engines.features import features
from engines.registry import Registry
from udfs.encode import EngineStamp, ListEncoder
from udfs.request import Requests


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How an engine is opened.

    Attributes:
        store: registry folder of the engine bundles.
        threads: threads of one engine call.
        job_epoch: stamped on every list.
        list_header: what starts every list, before the Avro binary.
    """

    store: Path
    threads: int
    job_epoch: int
    list_header: bytes


class Engine:
    """An open engine and the encoder for its lists. Serves one thread at a time.

    Args:
        active: which one.
        settings: how to open it.

    Attributes:
        active: as given.
        batch: rows that the model is always run with.

    Raises:
        EngineError, BundleRefused: its bundle is not sound, or its model cannot be run.
    """

    def __init__(self, active: Active, settings: EngineSettings) -> None:
        bundle = Registry(settings.store).open_exactly(active)
        self.active = active
        self._catalogue = bundle.catalogue
        self._slots = bundle.manifest.history_slots
        self.batch = bundle.manifest.batch
        self._backend = OnnxBackend(bundle, threads=settings.threads)
        self._backend.activate()
        self._backend.warm_up()
        stamp = EngineStamp(
            header=settings.list_header,
            engine=bundle.label,
            digest=bundle.digest,
            seq=active.engine_seq,
            runtime=self._backend.runtime_digest,
            job_epoch=settings.job_epoch,
        )
        item_ids = bundle.catalogue.item_ids.tolist()
        self._encoder = ListEncoder(stamp, item_ids, bundle.manifest.channels)

    def rank(self, requests: Requests) -> RankedBatch:
        """The lists of ``[n]`` requests with a profile each.

        Raises:
            EngineError: the engine gave NaN, or failed.
        """
        tensors = features(requests.histories(self._slots), self._catalogue)
        return self._backend.run(tensors)

    def rows(self, requests: Requests) -> int:
        """How many rows the model is run on for these, pads among them: what time goes by."""
        return -(-len(requests) // self.batch) * self.batch

    def encode(self, users: Sequence[str], requests: Requests, ranked: RankedBatch) -> list[bytes]:
        """``[n]`` Avro values."""
        return self._encoder.encode(users, requests, ranked)

    def hashes(self, ranked: RankedBatch) -> NDArray[np.uint64]:
        """Item hashes uint64 [n, k] of lists, 0 where one has ended: the same in every engine."""
        hashes: NDArray[np.uint64] = self._catalogue.hashes[ranked.items]
        return hashes

    def close(self) -> None:
        """Give its memory back."""
        self._backend.deactivate()

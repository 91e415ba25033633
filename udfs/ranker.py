"""Requests in, encoded lists out: the ranking of one batch, without Flink.

    requests [n] ── newest of each user ──▶ features ──▶ engine [n, k] ──▶ Avro values

Every request gets exactly one answer, see `udfs.request.Action`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engines.backends.onnx import OnnxBackend
from engines.features import features
from engines.registry import Active, Registry
from udfs.encode import EngineStamp, ListEncoder
from udfs.flight_recorder import FlightRecorder
from udfs.request import Action, Requests

log = logging.getLogger(__name__)

Rank: TypeAlias = Callable[[Sequence[str], Requests], list[bytes]]


@dataclass(frozen=True, slots=True)
class RankSettings:
    """What the operator needs to know; travels inside the job.

    Attributes:
        store: registry folder of the engine bundles.
        engine: the one that was active when the job was submitted; another activation must not
            reach a part of the workers only, so the job stays with it.
        threads: threads of one engine call.
        emit: ``latest`` ranks the newest profile of each user in a batch, ``every`` each one.
        job_epoch: stamped on every list.
        metrics: whether Flink collects metrics of Python functions.
        list_header: what starts every list, before the Avro binary.
        suspects: folder of `FlightRecorder`.
    """

    store: Path
    engine: Active
    threads: int
    emit: str
    job_epoch: int
    metrics: bool
    list_header: bytes
    suspects: Path


class Ranker:
    """An open engine and the encoder for its lists.

    Attributes:
        seq: activation counter of the engine.
        inference_s: time spent in the engine so far, in seconds.
    """

    def __init__(self, settings: RankSettings) -> None:
        bundle = Registry(settings.store).open_exactly(settings.engine)
        self.seq = settings.engine.engine_seq
        self.inference_s = 0.0
        self.catalogue = bundle.catalogue
        self._slots = bundle.manifest.history_slots
        self.backend = OnnxBackend(bundle, threads=settings.threads)
        self.backend.activate()
        self.backend.warm_up()
        stamp = EngineStamp(
            header=settings.list_header,
            engine=bundle.label,
            digest=bundle.digest,
            seq=self.seq,
            runtime=self.backend.runtime_digest,
            job_epoch=settings.job_epoch,
        )
        self.encoder = ListEncoder(
            stamp, self.catalogue.item_ids.tolist(), bundle.manifest.channels
        )

    def rank(self, users: Sequence[str], requests: Requests) -> list[bytes]:
        """Rank profiles.

        Args:
            users: ``[n]`` user ids.
            requests: ``[n]`` with a profile each.

        Returns:
            ``[n]`` Avro values.

        Raises:
            EngineError: the engine gave NaN.
        """
        tensors = features(requests.histories(self._slots), self.catalogue)
        started = time.perf_counter()
        ranked = self.backend.run(tensors)
        self.inference_s += time.perf_counter() - started
        return self.encoder.encode(users, requests, ranked)


@lru_cache(maxsize=1)
def ranker(settings: RankSettings) -> Ranker:
    """The one engine of this process: ``open`` runs per operator, an engine must not."""
    return Ranker(settings)


@dataclass(slots=True)
class Answers:
    """One answer a request, in the order of the requests.

    Attributes:
        actions: uint8 ``[n]`` of `Action`.
        values: ``[n]`` Avro values; None unless the action is LIST.
    """

    actions: NDArray[np.uint8]
    values: list[bytes | None]


def answer_recorded(
    recorder: FlightRecorder, users: Sequence[str], requests: Requests, rank: Rank, emit: str
) -> Answers:
    """`answer` under a flight recorder: first each suspect alone, then all others at once."""
    suspects = recorder.suspects_of(requests)
    if not suspects:
        with recorder.flight(requests):
            return answer(users, requests, rank, emit)
    others = sorted(set(range(len(users))).difference(suspects))
    answers = Answers(np.zeros(len(users), np.uint8), [None] * len(users))
    for rows in [*([row] for row in suspects), others]:
        part = requests[rows]
        with recorder.flight(part, alone=rows is not others):
            found = answer([users[row] for row in rows], part, rank, emit)
        answers.actions[rows] = found.actions
        for row, value in zip(rows, found.values, strict=True):
            answers.values[row] = value
    return answers


def answer(users: Sequence[str], requests: Requests, rank: Rank, emit: str) -> Answers:
    """Answer every request of a batch.

    Args:
        users: ``[n]`` user ids.
        requests: ``[n]``.
        rank: ranks requests with a profile, such as ``Ranker.rank``.
        emit: ``latest`` or ``every``.
    """
    actions = requests.heads["action"].copy()
    if emit == "latest":
        actions[outdated(users, actions)] = Action.SUPERSEDED
    places = np.flatnonzero(actions == Action.LIST).tolist()
    if len(places) == len(users):  # as most often; no copy of the requests is needed
        values = rank_each(users, requests, rank)
    else:
        values = [None] * len(users)
        ranked = rank_each([users[place] for place in places], requests[places], rank)
        for place, value in zip(places, ranked, strict=True):
            values[place] = value
    actions[[place for place in places if values[place] is None]] = Action.FAILED
    return Answers(actions, values)


def outdated(users: Sequence[str], actions: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which lists a later answer to the same user in the batch outdates, bool ``[n]``."""
    answered = np.flatnonzero(actions != Action.NONE).tolist()
    newest = {users[place]: place for place in answered}
    last = np.fromiter((newest.get(user, -1) for user in users), np.int64, len(users))
    found: NDArray[np.bool_] = (actions == Action.LIST) & (last != np.arange(len(users)))
    return found


def rank_each(users: Sequence[str], requests: Requests, rank: Rank) -> list[bytes | None]:
    """Rank all at once; on an error halve, until those that fail stand alone: these give None.

    Flink would restart the job for ever on an exception, so a bad request must not raise.
    """
    if not len(users):
        return []
    try:
        return list(rank(users, requests))
    except Exception as error:
        if len(users) == 1:
            log_failure(requests.heads[0], error)
            return [None]
    middle = len(users) // 2
    return [
        *rank_each(users[:middle], requests[:middle], rank),
        *rank_each(users[middle:], requests[middle:], rank),
    ]


def log_failure(head: Any, error: Exception) -> None:
    log.error(
        "left out: cause=%s partition=%s offset=%s: %s: %s",
        head["cause"],
        head["source_partition"],
        head["source_offset"],
        type(error).__name__,
        error,
    )

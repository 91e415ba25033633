"""Requests in, encoded lists out: the ranking of one batch, without Flink.

    requests [n] ── newest of each user ──▶ features ──▶ engine [n, k] ──▶ Avro values

Every request gets exactly one answer, see `udfs.request.Action`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engines.active import Active
from engines.registry import Registry
from udfs.assigned_gpu import use_assigned_gpu
from udfs.engine import Engine, EngineSettings
from udfs.flight_recorder import FlightRecorder
from udfs.live_engine import LiveEngine, first_engine
from udfs.request import Action, Requests
from udfs.state_file import StateFile
from udfs.trial import TrialSettings
from udfs.trial_record import TrialRecord

log = logging.getLogger(__name__)

Rank: TypeAlias = Callable[[Sequence[str], Requests], list[bytes]]


@dataclass(frozen=True, slots=True)
class RankSettings:
    """What the operator needs to know; travels inside the job.

    Attributes:
        engine: the one that was active when the job was submitted, to begin with.
        opening: how it and those after it are opened.
        trial: what those after it must stand.
        emit: ``latest`` ranks the newest profile of each user in a batch, ``every`` each one.
        metrics: whether Flink collects metrics of Python functions.
        suspects: folder of `FlightRecorder`, `StateFile` and `TrialRecord`.
    """

    engine: Active
    opening: EngineSettings
    trial: TrialSettings
    emit: str
    metrics: bool
    suspects: Path


@lru_cache(maxsize=1)
def live_engine(settings: RankSettings) -> LiveEngine:
    """The one engine of this process: ``open`` runs per operator, an engine must not."""
    use_assigned_gpu(os.environ)
    state = StateFile(settings.suspects)
    active_path = Registry(settings.opening.store).active_path
    load = partial(Engine, settings=settings.opening)
    record = TrialRecord(settings.suspects)
    first = first_engine(settings.engine, active_path, load, record)
    return LiveEngine(first, active_path, load, settings.trial, record, state.write)


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
        rank: ranks requests with a profile, such as ``LiveEngine.rank``.
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

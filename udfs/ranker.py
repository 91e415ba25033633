"""Packed profiles in, encoded lists out: the ranking of one batch, without Flink.

    rows [n] ── newest of each user ──▶ profiles (one NumPy view) ──▶ engine [n, k] ──▶ Avro values

Every row gets exactly one answer:

    list        the Avro value of a fresh list
    tombstone   the user was forgotten; the value is null
    superseded  a newer row of the same user is in the batch (``emit = "latest"``)
    failed      this row alone could not be ranked; ``error`` says why
    none        nothing was asked for; the row is there for the audit
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from engines.backends.onnx import OnnxBackend
from engines.features import features
from engines.registry import Active, Registry
from schemas.profile import PROFILE_DTYPE
from udfs.encode import EngineStamp, ListEncoder

log = logging.getLogger(__name__)

COLUMNS = (
    "user_id",
    "action",
    "profile",
    "cause",
    "event_time",
    "source_partition",
    "source_offset",
)


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
    """

    store: Path
    engine: Active
    threads: int
    emit: str
    job_epoch: int
    metrics: bool


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
        self.backend = OnnxBackend(bundle, threads=settings.threads)
        self.backend.activate()
        self.backend.warm_up()
        stamp = EngineStamp(
            engine=bundle.label,
            digest=bundle.digest,
            seq=self.seq,
            runtime=self.backend.runtime_digest,
            job_epoch=settings.job_epoch,
        )
        self.encoder = ListEncoder(
            stamp, self.catalogue.item_ids.tolist(), bundle.manifest.channels
        )

    def rank(self, rows: pd.DataFrame) -> list[bytes]:
        """Rank rows with a profile.

        Args:
            rows: ``[n]`` with the columns of ``COLUMNS``.

        Returns:
            ``[n]`` Avro values.

        Raises:
            ValueError: a profile of the wrong length.
            EngineError: the engine gave NaN.
        """
        profiles: NDArray[Any] = np.frombuffer(b"".join(rows["profile"]), PROFILE_DTYPE)
        if len(profiles) != len(rows):
            raise ValueError(f"{len(rows)} rows hold {len(profiles)} profiles")
        tensors = features(profiles, self.catalogue)
        started = time.perf_counter()
        ranked = self.backend.run(tensors)
        self.inference_s += time.perf_counter() - started
        columns = {name: rows[name].to_numpy() for name in COLUMNS}
        columns |= {name: profiles[name] for name in ("user_epoch", "version")}
        return self.encoder.encode(columns, ranked)


@lru_cache(maxsize=1)
def ranker(settings: RankSettings) -> Ranker:
    """The one engine of this process: ``open`` runs per operator, an engine must not."""
    return Ranker(settings)


@dataclass(slots=True)
class Answers:
    """One answer a row, in the order of the rows.

    Attributes:
        actions: ``[n]`` of list, tombstone, superseded, failed, none.
        values: ``[n]`` Avro values; None unless the action is list.
        errors: ``[n]`` why a row failed, else None.
    """

    actions: list[str]
    values: list[bytes | None]
    errors: list[str | None]

    def frame(self) -> pd.DataFrame:
        """``[n]`` rows of action, value, error."""
        columns = {"action": self.actions, "value": self.values, "error": self.errors}
        frame: pd.DataFrame = pd.DataFrame(columns)
        return frame


def answer(rows: pd.DataFrame, rank: Callable[[pd.DataFrame], list[bytes]], emit: str) -> Answers:
    """Answer every row of a batch.

    Args:
        rows: ``[n]`` with the columns of ``COLUMNS``.
        rank: ranks rows with a profile, such as ``Ranker.rank``.
        emit: ``latest`` or ``every``.
    """
    actions = rows["action"].tolist()
    if emit == "latest":
        supersede(actions, rows["user_id"].tolist())
    answers = Answers(actions, [None] * len(rows), [None] * len(rows))
    places = [place for place, action in enumerate(actions) if action == "list"]
    chosen = rows if len(places) == len(rows) else rows.iloc[places]
    for place, value in zip(places, rank_each(chosen, rank), strict=True):
        if isinstance(value, bytes):
            answers.values[place] = value
        else:
            actions[place] = "failed"
            answers.errors[place] = f"{type(value).__name__}: {value}"
    return answers


def supersede(actions: list[str], users: list[str]) -> None:
    """Mark, in place, each list that a later answer to the same user in the batch outdates."""
    newest = {user: place for place, user in enumerate(users) if actions[place] != "none"}
    for place, user in enumerate(users):
        if actions[place] == "list" and newest[user] != place:
            actions[place] = "superseded"


def rank_each(
    rows: pd.DataFrame, rank: Callable[[pd.DataFrame], list[bytes]]
) -> list[bytes | Exception]:
    """Rank all rows at once; on an error halve, until the rows that fail stand alone.

    Flink would restart the job for ever on an exception, so a bad row must not raise.
    """
    if rows.empty:
        return []
    try:
        return list(rank(rows))
    except Exception as error:
        if len(rows) == 1:
            log_failure(rows.iloc[0], error)
            return [error]
    middle = len(rows) // 2
    return rank_each(rows.iloc[:middle], rank) + rank_each(rows.iloc[middle:], rank)


def log_failure(row: Any, error: Exception) -> None:
    log.error(
        "row left out: %s partition=%s offset=%s: %s",
        row["cause"],
        row["source_partition"],
        row["source_offset"],
        error,
    )

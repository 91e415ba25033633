"""Which engine ranks: the active one, once it has stood its trial, and while it behaves.

    active.json changes ─▶ trial ──accepted──▶ the new one ranks, between two batches: probation
                             │                    ├─ errors, or too slow ─▶ the old one again
                             └─refused            └─ time is over ───────▶ the old one is let go

Workers only read ``active.json``. What a worker does not take it reports, and stays as it is. A
worker that starts again begins with the active engine if that has stood its probation; one at which
workers died is tried no more, see ``trial_record``.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from engines.active import Active, read_active
from engines.backends.base import RankedBatch
from schemas.errors import EngineError, HeadraceError
from udfs.engine import Engine
from udfs.request import Requests
from udfs.state_file import EngineState
from udfs.trial import Shown, Trial, TrialSettings, Verdict
from udfs.trial_record import TrialRecord

log = logging.getLogger(__name__)

POLL_S = 1.0
MAX_DEATHS = 3
"""Workers that die with an engine on trial; then it is refused."""

Load = Callable[[Active], Engine]
Report = Callable[[EngineState], None]


def first_engine(submitted: Active, active_path: Path, load: Load, record: TrialRecord) -> Engine:
    """What a worker begins with: the active engine if it is proven, else that of the submission."""
    try:
        active = read_active(active_path)
        if active and record.is_proven(active):
            return load(active)
    except HeadraceError as error:
        log.warning("%s", error)
    return load(submitted)


class LiveEngine:
    """The engine of a worker.

    Args:
        first: to begin with.
        active_path: ``active.json``.
        load: opens an engine, verified and warmed up.
        settings: of trials.
        record: of what became of engines.
        report: told of every change.
        clock: seconds that only rise.

    Attributes:
        engine: that ranks.
        refused: how many were not taken, or fallen back from.
        inference_s: time spent for lists so far, in seconds.
    """

    def __init__(
        self,
        first: Engine,
        active_path: Path,
        load: Load,
        settings: TrialSettings,
        record: TrialRecord,
        report: Report,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.engine = first
        self._active_path = active_path
        self._load = load
        self._settings = settings
        self._record = record
        self._report = report
        self._clock = clock
        self._newest_seq = first.active.engine_seq  # that was looked at
        self._next_poll = clock()
        self._trial: Trial | None = None
        self._probation: _Probation | None = None
        self.refused = 0
        self.inference_s = 0.0
        self._tell("serving")

    def rank(self, users: Sequence[str], requests: Requests) -> list[bytes]:
        """Avro values of ``[n]`` requests with a profile each.

        Raises:
            EngineError: the engine failed, and it is not for its own fault that it did.
        """
        self._between_batches()
        started = self._clock()
        try:
            ranked = self.engine.rank(requests)
        except Exception as error:
            ranked = self._rescued(requests, error)
        seconds = self._clock() - started
        self.inference_s += seconds
        seconds_a_row = seconds / self.engine.rows(requests)
        if self._trial:
            self._trial.show(Shown(requests, self.engine.hashes(ranked), seconds_a_row))
        if self._probation:
            self._probation.seconds_a_row.append(seconds_a_row)
        return self.engine.encode(users, requests, ranked)

    def _between_batches(self) -> None:
        if self._probation:
            self._watch(self._probation)
        if self._trial and (verdict := self._trial.verdict()):
            self._end_trial(self._trial.active, verdict)
        if self._clock() >= self._next_poll:
            self._next_poll = self._clock() + POLL_S
            self._look()

    def _look(self) -> None:
        """Start a trial if another engine was activated."""
        try:
            active = read_active(self._active_path)
        except EngineError as error:
            log.warning("%s", error)
            return
        if active is None or active.engine_seq <= self._newest_seq:
            return
        self._newest_seq = active.engine_seq
        if self._trial:
            self._trial.give_up()
            self._record.end(self._trial.active)
        if (deaths := self._record.deaths(active)) >= MAX_DEATHS:
            self._trial = None
            self._tell("refused", active.label, f"{deaths} workers died while they tried it")
            return
        self._record.begin(active)
        self._trial = Trial(active, self._load, self._settings, self._clock)
        self._tell("trial", active.label)

    def _end_trial(self, active: Active, verdict: Verdict) -> None:
        self._trial = None
        if verdict.engine is None:
            self._record.end(active)
            self._tell("refused", active.label, verdict.reason)
            return
        if self._probation:
            self._end_probation(self._probation)
        until = self._clock() + self._settings.probation_s
        self._probation = _Probation(
            self.engine,
            until,
            verdict.old_seconds_a_row,
            deque(maxlen=self._settings.shadow_batches),
        )
        self.engine = verdict.engine
        self._tell("probation", self._probation.old.active.label, verdict.reason)

    def _watch(self, probation: _Probation) -> None:
        """End a probation, one way or the other."""
        times = probation.seconds_a_row
        batch = self.engine.batch
        if len(times) == times.maxlen and self._settings.too_slow(
            taken_s := median(times), probation.old_seconds_a_row, batch
        ):
            took_ms = taken_s * batch * 1000
            self._fall_back(probation, f"too slow: {took_ms:.1f} ms for a batch of {batch}")
        elif self._clock() >= probation.until:
            self._end_probation(probation, proven=True)
            self._tell("serving")

    def _end_probation(self, probation: _Probation, proven: bool = False) -> None:
        """Let the old engine go."""
        probation.old.close()
        self._record.end(self.engine.active, proven)
        self._probation = None

    def _rescued(self, requests: Requests, error: Exception) -> RankedBatch:
        """The lists of a batch at which the engine failed, by the old one if that can do it."""
        if self._probation is None:
            raise error
        ranked = self._probation.old.rank(requests)  # fails too if the requests are to blame
        self._fall_back(self._probation, f"{type(error).__name__}: {error}".splitlines()[0])
        return ranked

    def _fall_back(self, probation: _Probation, reason: str) -> None:
        failed = self.engine
        self.engine, self._probation = probation.old, None
        failed.close()
        self._record.end(failed.active)
        self._tell("fell back", failed.active.label, reason)

    def _tell(self, state: str, other: str = "", reason: str = "") -> None:
        active = self.engine.active
        told = EngineState(active.label, active.engine_seq, state, other, reason)
        self.refused += state in ("refused", "fell back")
        level = logging.WARNING if state in ("refused", "fell back") else logging.INFO
        log.log(level, "engine %s %s %s: %s", told.serving, state, other, reason)
        self._report(told)


@dataclass(slots=True)
class _Probation:
    """The old engine, and how the new one does.

    Attributes:
        old: to fall back to.
        until: by the clock.
        old_seconds_a_row: what it needed.
        seconds_a_row: of the new one, of its last batches.
    """

    old: Engine
    until: float
    old_seconds_a_row: float
    seconds_a_row: deque[float]

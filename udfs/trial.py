"""A newly activated engine, on trial beside the one that ranks.

    loaded, verified, warmed up ─▶ shadow: ranks what the other one has ranked ─▶ accepted
                 └───────────────────────────────────┴──── any failure ─────────▶ refused

All of it happens in a thread of its own, which takes a batch whenever it is free: no batch waits
for it, so an engine that is far too slow delays no list.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from engines.active import Active
from engines.comparison import overlap_at_k
from schemas.errors import HeadraceError
from udfs.engine import Engine
from udfs.request import Requests


@dataclass(frozen=True, slots=True)
class TrialSettings:
    """What a new engine must stand.

    Attributes:
        shadow_batches: batches that it ranks beside the old one.
        min_overlap: mean share of items, 0..1, that its lists must have in common with the old.
        max_latency_ms: median time of a full batch; or
        max_latency_ratio: times what the old one needs, if that is longer.
        probation_s: how long after a swap the old one is kept, to fall back to.
    """

    shadow_batches: int
    min_overlap: float
    max_latency_ms: float
    max_latency_ratio: float
    probation_s: float

    def too_slow(self, seconds_a_row: float, old_seconds_a_row: float, batch: int) -> bool:
        """Whether an engine of this batch shape breaks the bounds, by medians."""
        bound_s = max(
            self.max_latency_ms / 1000 / batch, self.max_latency_ratio * old_seconds_a_row
        )
        return seconds_a_row > bound_s


@dataclass(frozen=True, slots=True)
class Shown:
    """A batch that was ranked.

    Attributes:
        requests: of it.
        hashes: uint64 [n, k] of its lists.
        seconds_a_row: that the engine took, of a row of its model, pads among them: the same for
            few users as for many.
    """

    requests: Requests
    hashes: NDArray[np.uint64]
    seconds_a_row: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a trial ended.

    Attributes:
        engine: if it was accepted.
        reason: of a refusal; else the figures.
        old_seconds_a_row: median of what the old one needed in the meantime.
    """

    engine: Engine | None
    reason: str
    old_seconds_a_row: float = 0.0


class Trial:
    """Loads an engine and tries it, from its making on.

    Args:
        active: which one.
        load: opens it, verified and warmed up.
        settings: what it must stand.
        clock: seconds that only rise.
    """

    def __init__(
        self,
        active: Active,
        load: Callable[[Active], Engine],
        settings: TrialSettings,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.active = active
        self._load = load
        self._settings = settings
        self._clock = clock
        self._shown: queue.Queue[Shown | None] = queue.Queue(maxsize=1)
        self._verdict: Verdict | None = None
        self._thread = threading.Thread(target=self._run, name="engine-trial", daemon=True)
        self._thread.start()

    def show(self, batch: Shown) -> None:
        """What the other engine made of a batch; goes by if the trial is busy."""
        with suppress(queue.Full):
            self._shown.put_nowait(batch)

    def verdict(self) -> Verdict | None:
        """How it ended; None while it goes on."""
        return None if self._thread.is_alive() else self._verdict

    def give_up(self) -> None:
        """End it as soon as it looks for another batch."""
        with suppress(queue.Empty):
            self._shown.get_nowait()
        self._shown.put(None)

    def _run(self) -> None:
        try:
            self._verdict = self._judge(self._load(self.active))
        except Exception as error:  # of a bundle, a runtime or a batch: all of them refuse it
            message = error.message if isinstance(error, HeadraceError) else str(error)
            received = getattr(error, "received", "")
            reason = f"{type(error).__name__}: {message}" + (f" ({received})" if received else "")
            self._verdict = Verdict(None, reason)

    def _judge(self, engine: Engine) -> Verdict:
        overlaps: list[float] = []
        own: list[float] = []
        old: list[float] = []
        while len(own) < self._settings.shadow_batches:
            batch = self._shown.get()
            if batch is None:
                return Verdict(None, "given up: another engine was activated")
            started = self._clock()
            ranked = engine.rank(batch.requests)
            own.append((self._clock() - started) / engine.rows(batch.requests))
            old.append(batch.seconds_a_row)
            overlaps += _overlaps(engine.hashes(ranked), batch.hashes)
        overlap, own_s, old_s = float(np.mean(overlaps)), median(own), median(old)
        batch_ms, old_ms = own_s * engine.batch * 1000, old_s * engine.batch * 1000
        figures = (
            f"overlap {overlap:.3f}, {batch_ms:.1f} ms for a batch of {engine.batch}, "
            f"before {old_ms:.1f} ms, {len(overlaps)} lists"
        )
        if overlap < self._settings.min_overlap:
            return Verdict(None, f"its lists are too different: {figures}")
        if self._settings.too_slow(own_s, old_s, engine.batch):
            return Verdict(None, f"it is too slow: {figures}")
        return Verdict(engine, figures, old_s)


def _overlaps(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> list[float]:
    """Of each user's two lists, as far as the shorter one goes."""
    k = min(first.shape[1], second.shape[1])
    found: list[float] = overlap_at_k(first[:, :k], second[:, :k]).tolist()
    return found

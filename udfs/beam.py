"""Settings of Apache Beam, which runs our Python functions for Flink, that Flink does not give.

    bundle ──▶ Beam's worker ──▶ Rank.eval
                  └── a thread that samples which step is at work, joined when the bundle ends

The sampling thread sleeps for 2 ms, then for ever longer, and only then sees that its bundle is
over, while everybody waits: for a tenth of a long bundle's time, for 2 ms of a short one's. Flink
reads nothing of what it finds.
"""

from __future__ import annotations

from typing import Any


def without_sampling() -> None:
    """From now on bundles of this process start no sampling thread; needs Beam in it."""
    from apache_beam.runners.worker.statesampler import StateSampler, set_current_tracker

    def start(self: Any) -> None:
        set_current_tracker(self)  # functions find their counters by it
        self.started = True

    def stop(self: Any) -> None:
        set_current_tracker(None)
        self.finished = True

    StateSampler.start, StateSampler.stop = start, stop

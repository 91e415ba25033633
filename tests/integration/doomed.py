"""``headrace run`` whose TaskManager ends on SIGUSR1, as after a fatal error of Flink's."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

from pipeline import run
from pipeline.cli import main


class DoomedJob(run.RunningJob):
    def __init__(self, client: Any, *rest: Any) -> None:
        super().__init__(client, *rest)

        def end(number: int, frame: FrameType | None) -> None:
            run.mini_cluster_of(client).terminateTaskManager(0)

        signal.signal(signal.SIGUSR1, end)


if __name__ == "__main__":
    run.RunningJob = DoomedJob  # type: ignore[misc]
    main()

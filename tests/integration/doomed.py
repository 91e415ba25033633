"""``headrace run`` whose TaskManager ends on SIGUSR1, as after a fatal error of Flink's."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

from pyflink.util.java_utils import get_field_value

from pipeline import run
from pipeline.cli import main


class DoomedJob(run.RunningJob):
    def __init__(self, client: Any, *rest: Any) -> None:
        super().__init__(client, *rest)

        def end(number: int, frame: FrameType | None) -> None:
            # The newest: a killed worker may have taken the one before with it.
            cluster = run.mini_cluster_of(client)
            cluster.terminateTaskManager(get_field_value(cluster, "taskManagers").size() - 1)

        signal.signal(signal.SIGUSR1, end)


if __name__ == "__main__":
    run.RunningJob = DoomedJob  # type: ignore[misc]
    main()

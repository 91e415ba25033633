"""A Python worker ends with the JVM that started it.

    JVM of a TaskManager ─▶ pyflink-udf-runner.sh ─▶ this process

The JVM ends its workers when it ends in order. When it is killed, a worker may wait for it for
ever in one of Beam's threads, with all its memory and with the locks by which others take it for
a living one.
"""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path
from threading import Thread

RUNNER = b"pyflink-udf-runner.sh"
PROC = Path("/proc")


def end_with_the_jvm() -> None:
    """End this process, at once, when its JVM is gone; needs Linux, and does nothing elsewhere."""
    if sys.platform != "linux":
        return
    runner = os.getppid()
    try:
        if RUNNER not in Path(f"/proc/{runner}/cmdline").read_bytes():
            return  # not a worker of Flink's
        jvm = os.pidfd_open(parent_of(runner))
    except OSError:  # the runner is gone, or this kernel is older than 5.3
        return
    Thread(target=_end_after, args=(jvm,), daemon=True, name="lifeline").start()


def parent_of(pid: int, proc: Path = PROC) -> int:
    """The process that another one descends from; 0 of the system's first.

    Raises:
        OSError: there is no such process, or no Linux.
    """
    stat = (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    # Field 2, the name, may hold spaces and brackets; field 4 is the parent.
    return int(stat.rpartition(")")[2].split()[1])


def _end_after(process: int) -> None:
    gone = select.poll()
    gone.register(process, select.POLLIN)
    gone.poll()
    os._exit(1)  # sys.exit would wait for Beam's threads

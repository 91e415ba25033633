"""A long-running process that outlives the command that started it, remembered in a file.

A process id alone is no name: the system gives it to another process later. The file therefore
keeps the id together with the time at which that process was born.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

KILLED_WITHIN_S = 10.0
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals by which we are asked to end."""
Record = TypeVar("Record", bound="ProcessRecord")


@contextmanager
def signals_put_off() -> Iterator[None]:
    """Signals that end us wait until the block is over.

    Between a process's start and the moment when somebody knows of it, an exception would leave it
    behind. Python tells its main thread alone of signals: in others there is nothing to put off.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda n, _: came.append(n)) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


@dataclass(frozen=True)
class ProcessRecord:
    """A process by its id and its birth, as the system tells it (its unit does not matter)."""

    pid: int
    born: str

    @classmethod
    def of(cls, pid: int) -> ProcessRecord:
        """The process that has this id now."""
        return cls(pid, _birth(pid))

    @classmethod
    def read(cls: type[Record], file: Path) -> Record | None:
        """What the file remembers; None if there is no file or it was written half."""
        try:
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            file.unlink()
            return None

    @classmethod
    def launch(cls, command: Sequence[str], output: Path, folder: Path) -> ProcessRecord:
        """Starts a process that outlives us, in a session of its own: Ctrl-C does not reach it.

        Args:
            command: program and arguments.
            output: file for what it says.
            folder: in which it works.
        """
        with output.open("w", encoding="utf-8") as out:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=folder,
                start_new_session=True,
            )
        child.returncode = 0  # On purpose: no warning about a child left behind.
        return ProcessRecord.of(child.pid)

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @property
    def alive(self) -> bool:
        return bool(self.born) and _birth(self.pid) == self.born

    def stop(self, patience_s: float = 20.0) -> bool:
        """Asks it to end, then kills it; returns whether it ended when asked."""
        self._signal(signal.SIGTERM)
        asked = self._gone_within(patience_s)
        if not asked:
            self._signal(signal.SIGKILL)
            self._gone_within(KILLED_WITHIN_S)
        return asked

    def _signal(self, number: signal.Signals) -> None:
        if self.alive:
            os.kill(self.pid, number)

    def _gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.alive and time.monotonic() < deadline:
            time.sleep(0.02)
        return not self.alive


def _birth(pid: int) -> str:
    """When the process was born; empty if it is gone or only waits to be buried (a zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "" if Path("/proc/self").exists() else _birth_by_ps(pid)
    # Field 2, the name, may hold spaces and brackets; field 3 is the state, field 22 the birth.
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


def _birth_by_ps(pid: int) -> str:
    """For systems without /proc, such as macOS."""
    command = ["/bin/ps", "-o", "state=,lstart=", "-p", str(pid)]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return "" if told.startswith("Z") else told.strip().partition(" ")[2]

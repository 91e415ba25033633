"""How each worker's engine stands, where `headrace status` finds it.

    <folder>/engines/<id>.json   of a worker; replaced at every change

The lock on a file is held by its worker as long as it lives: a file without one is of a worker that
was killed, and the next worker that starts removes it.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4


@dataclass(frozen=True, slots=True)
class EngineState:
    """How a worker stands.

    Attributes:
        serving: name@version that ranks.
        engine_seq: of it.
        state: ``serving``; ``trial`` of another one; ``probation`` after a swap; ``refused``: the
            newest activation was; ``fell back``: it was taken, and broke a bound.
        other: name@version that the state is about, or "".
        reason: figures or cause.
    """

    serving: str
    engine_seq: int
    state: str
    other: str = ""
    reason: str = ""


def states_folder(folder: Path) -> Path:
    return folder / "engines"


class StateFile:
    """That of this worker.

    Args:
        folder: the same for all workers of a job.
    """

    def __init__(self, folder: Path) -> None:
        states = states_folder(folder)
        states.mkdir(parents=True, exist_ok=True)
        for path in states.glob("*.json"):
            if not is_held(path):
                path.unlink(missing_ok=True)
        path = states / f"{uuid4().hex}.json"
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def write(self, state: EngineState) -> None:
        """Replace what is there; a full disk stops no worker."""
        at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        line = (json.dumps(asdict(state) | {"at": at}) + "\n").encode()
        with suppress(OSError):
            # One write of less than a page: a reader sees the old line or the new one.
            os.pwrite(self._descriptor, line, 0)
            os.ftruncate(self._descriptor, len(line))


def read_states(folder: Path) -> list[dict[str, Any]]:
    """The states of all workers that live."""
    found = []
    for path in sorted(states_folder(folder).glob("*.json")):
        with suppress(OSError, ValueError):
            if is_held(path):
                found.append(json.loads(path.read_bytes().partition(b"\n")[0]))
    return found


def is_held(path: Path) -> bool:
    """Whether a worker lives that writes this file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False

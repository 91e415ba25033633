"""What became of engines on trial, kept where it outlives the workers that tried them.

    <folder>/engines/<seq>-<sha>.proven        it stood its probation in some worker
    <folder>/engines/<seq>-<sha>.trial-<id>    a worker tries it, or died of it or beside it

A worker holds the lock on its note as long as it lives, and removes the note when a trial has come
to its end. So a note without a lock is of a worker that died with the engine on trial or on
probation, be it by the engine's fault or from outside.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from engines.active import Active
from udfs.state_file import is_held, states_folder


class TrialRecord:
    """That of the engines of a job.

    Args:
        folder: the same for all workers of a job.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = states_folder(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._notes: dict[str, tuple[Path, int]] = {}

    def begin(self, active: Active) -> None:
        """An engine is tried from now on, by this worker; a full disk stops no trial."""
        path = self._folder / f"{_key(active)}.trial-{uuid4().hex}"
        with suppress(OSError):
            note = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(note, fcntl.LOCK_EX)
            self._notes[_key(active)] = path, note

    def end(self, active: Active, proven: bool = False) -> None:
        """The worker has outlived the trial, or the probation too."""
        with suppress(OSError):
            if proven:
                (self._folder / f"{_key(active)}.proven").touch()
        if _key(active) in self._notes:
            path, note = self._notes.pop(_key(active))
            with suppress(OSError):
                path.unlink()
            os.close(note)

    def is_proven(self, active: Active) -> bool:
        """Whether it stood its probation in any worker."""
        return (self._folder / f"{_key(active)}.proven").exists()

    def deaths(self, active: Active) -> int:
        """How many workers died with it on trial or on probation."""
        notes = self._folder.glob(f"{_key(active)}.trial-*")
        return sum(not is_held(note) for note in notes)


def _key(active: Active) -> str:
    """An activation; a store that was made anew counts from 1 again."""
    return f"{active.engine_seq}-{active.manifest_sha256[:16]}"

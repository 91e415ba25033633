"""Finding the checkpoint or savepoint that a job is to go on from.

    <job.state_dir or run_dir>/checkpoints/<job id>/chk-<n>/_metadata
    <job.state_dir or run_dir>/savepoints/savepoint-<…>/_metadata

Flink writes ``_metadata`` last, so a folder that has it is complete.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pipeline.flink import state_folder
from schemas.errors import FlinkError

if TYPE_CHECKING:
    from pipeline.config import Settings

LATEST = "latest"


def resolve(settings: Settings, state: str) -> str:
    """The URI of a checkpoint or savepoint.

    Args:
        settings: where checkpoints are kept.
        state: its path or URI, or ``latest``: the newest complete checkpoint of any job.

    Raises:
        FlinkError: there is none there, or ``latest`` is asked for in a place that is no folder
            of this machine.
    """
    if state == LATEST:
        return newest_first(settings)[0].as_uri()
    if "://" in state and not state.startswith("file://"):
        return state  # S3 and its like: Flink looks itself
    folder = local_path(state)
    if not (folder / "_metadata").is_file():
        raise FlinkError(
            "there is no savepoint or checkpoint",
            expected=f"a folder with a file _metadata at {folder}",
            received="no such file",
            fix="name the folder chk-… or savepoint-… itself; "
            "--from-checkpoint latest takes the newest checkpoint",
        )
    return folder.resolve().as_uri()


def newest_first(settings: Settings) -> list[Path]:
    """The complete checkpoints, the newest first; at least one.

    Raises:
        FlinkError: there is none, or they are not on this machine.
    """
    uri = state_folder(settings, "checkpoints")
    if not uri.startswith("file:"):
        raise FlinkError(
            "the newest checkpoint cannot be looked for there",
            expected="job.state_dir on a file system of this machine",
            received=uri,
            fix="--from-checkpoint URI of the folder chk-…; Flink's page and log name it",
        )
    found = local_path(uri).glob("*/chk-*/_metadata")
    complete = sorted(found, key=lambda file: file.stat().st_mtime_ns, reverse=True)
    if not complete:
        raise FlinkError(
            "there is no checkpoint",
            expected=f"a complete checkpoint below {local_path(uri)}",
            received="none",
            fix="set run_dir or job.state_dir to those of the job; "
            "or leave --from-checkpoint out to start from empty state",
        )
    return [file.parent.resolve() for file in complete]


def advice(settings: Settings, restored_from: str) -> str:
    """What to do when a job does not start from a checkpoint or savepoint."""
    try:
        others = [path.as_uri() for path in newest_first(settings)]
    except FlinkError:
        others = []
    older = [uri for uri in others if uri != restored_from]
    if restored_from in others:
        older = others[others.index(restored_from) + 1 :]
    return f"--from-checkpoint {older[0]}" if older else "a savepoint or checkpoint that is whole"


def local_path(uri: str) -> Path:
    """A path, or the path of a ``file:`` URI."""
    return Path(unquote(urlsplit(uri).path)) if uri.startswith("file:") else Path(uri)

"""Writes that survive a crash: data reaches the disk before the name that points to it."""

from __future__ import annotations

import os
from pathlib import Path


def write_flushed(path: Path, data: bytes | memoryview) -> None:
    """Write ``data`` and wait until the disk has it."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Wait until the disk has the names of the files in ``folder``."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_flushed(path: Path, data: bytes) -> None:
    """Put ``data`` in the place of a file: readers see the old one or the new one, never a part.

    One writer at a time: the data lie in ``.<name>.tmp`` beside it until they are complete.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    write_flushed(temporary, data)
    temporary.replace(path)
    flush_folder(path.parent)

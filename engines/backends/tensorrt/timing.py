"""What TensorRT measured when it chose its kernels, kept for the next build on the same GPU.

A file that is damaged, or of another GPU or version, costs time and no more: all is measured anew.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any


def attach(config: Any, path: Path) -> Any:
    """Have a build use the measurements in a file, if it can, and add its own; returns them."""
    known = path.read_bytes() if path.exists() else b""
    cache = config.create_timing_cache(known) or config.create_timing_cache(b"")
    if not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def keep(cache: Any, path: Path) -> None:
    """Put the measurements in the place of the file; of two builds at once the later one wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(bytes(cache.serialize()))
    Path(file.name).replace(path)

"""Timing caches are used, kept, and never in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engines.backends.tensorrt import timing


class Cache:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> bytes:
        return self.data + b"+"


class Config:
    """Of a builder on the GPU "a", which takes caches of that GPU alone."""

    attached: Cache

    def create_timing_cache(self, data: bytes) -> Cache | None:
        return None if data.startswith(b"junk") else Cache(data)

    def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.attached = cache
        return cache.data[:1] in (b"", b"a")


@pytest.mark.parametrize(
    ("there", "used"),
    [(None, b""), (b"a measured", b"a measured"), (b"b measured", b""), (b"junk", b"")],
)
def test_measurements_of_this_gpu_are_used(
    tmp_path: Path, there: bytes | None, used: bytes
) -> None:
    path = tmp_path / "cache" / "file.timing"
    if there is not None:
        path.parent.mkdir()
        path.write_bytes(there)
    config = Config()
    cache = timing.attach(config, path)
    assert config.attached.data == used
    timing.keep(cache, path)
    assert path.read_bytes() == used + b"+"
    assert [file.name for file in path.parent.iterdir()] == ["file.timing"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_real_interface_is_like_that(tmp_path: Path) -> None:
    tensorrt: Any = pytest.importorskip("tensorrt_rtx")
    config = tensorrt.Builder(tensorrt.Logger()).create_builder_config()
    cache = timing.attach(config, tmp_path / "none")
    timing.keep(cache, tmp_path / "kept")
    assert (tmp_path / "kept").stat().st_size

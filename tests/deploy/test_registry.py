"""The local schema registry is started once, found again, and stopped."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local import registry
from deploy.local.process import ProcessRecord
from schemas.errors import RegistryError


@pytest.mark.real
def test_it_is_started_once_and_stopped(
    tmp_path: Path, free_ports: Callable[[int], list[int]]
) -> None:
    [port] = free_ports(1)
    started = registry.start(tmp_path, port)
    record = ProcessRecord.read(tmp_path / "registry/registry.pid")
    try:
        assert registry.start(tmp_path, port) == started
        assert ProcessRecord.read(tmp_path / "registry/registry.pid") == record
    finally:
        registry.stop(started)
    assert record is not None
    assert not record.alive
    registry.stop(started)  # once more does nothing


@pytest.mark.real
def test_a_taken_port_is_told(tmp_path: Path) -> None:
    refused = pytest.raises(RegistryError, match="cannot be used")
    with socket.create_server((registry.HOST, 0)) as taken, refused:
        registry.start(tmp_path, taken.getsockname()[1])


def test_missing_jars_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "APP", tmp_path)
    with pytest.raises(RegistryError, match="jars are missing") as caught:
        registry.start(tmp_path, 1)
    assert caught.value.fix == "make jar"

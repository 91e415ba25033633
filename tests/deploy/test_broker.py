from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local import broker
from deploy.local.process import ProcessRecord
from pipeline.config import Settings, load_settings
from pipeline.topics import check_topics, ensure_topics
from schemas.errors import BrokerError


@pytest.fixture
def settings(tmp_path: Path, free_ports: Callable[[int], list[int]]) -> Settings:
    """Settings of a broker that does not run yet."""
    port, controller_port = free_ports(2)
    flags = {
        "local.port": port,
        "local.controller_port": controller_port,
        "kafka.bootstrap_servers": f"127.0.0.1:{port}",
        "run_dir": tmp_path / "run",
    }
    return load_settings(flags=flags, environ={})


@pytest.fixture
def _any_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "find_java", lambda: "/bin/false")


@pytest.mark.usefixtures("_any_java")
def test_missing_jars_are_to_be_made(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="jars are missing") as error:
        broker.start(settings.local, settings.run_dir, lib=tmp_path)
    assert error.value.fix == "make jar"


@pytest.mark.usefixtures("_any_java")
@pytest.mark.parametrize("name", ["port", "controller_port"])
def test_a_taken_port_is_named_with_its_setting(
    settings: Settings, tmp_path: Path, name: str
) -> None:
    (tmp_path / "kafka_2.13.jar").touch()
    port = getattr(settings.local, name)
    taken = socket.create_server(("127.0.0.1", port))
    with taken, pytest.raises(BrokerError, match=f"Port {port} ") as error:
        broker.start(settings.local, settings.run_dir, lib=tmp_path)
    assert f"local.{name}" in error.value.fix


@pytest.mark.usefixtures("_any_java")
def test_storage_that_cannot_be_prepared_is_told(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "kafka_2.13.jar").touch()
    with pytest.raises(BrokerError, match="could not prepare") as error:
        broker.start(settings.local, settings.run_dir, lib=tmp_path)
    assert "run_dir" in error.value.fix


def test_a_broker_that_is_interrupted_while_it_starts_is_stopped(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeper = tmp_path / "java"
    sleeper.write_text(
        f"#!{sys.executable}\nimport sys, time\n'format' in sys.argv or time.sleep(60)"
    )
    sleeper.chmod(0o755)
    (tmp_path / "kafka_2.13.jar").touch()
    launched: list[ProcessRecord] = []

    def interrupt(*_: object) -> None:
        process = ProcessRecord.read(settings.run_dir / "broker" / "broker.pid")
        assert process is not None
        assert process.alive
        launched.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr(broker, "find_java", lambda: str(sleeper))
    monkeypatch.setattr(broker, "_wait_until_it_answers", interrupt)
    with pytest.raises(KeyboardInterrupt):
        broker.start(settings.local, settings.run_dir, lib=tmp_path)
    assert not launched[0].alive
    assert broker.status(settings.local, settings.run_dir).note == "not running"


def test_a_stale_pid_file_is_removed_and_told(settings: Settings) -> None:
    pid_file = settings.run_dir / "broker" / "broker.pid"
    pid_file.parent.mkdir(parents=True)
    # Our own id, but born at another time: the id was given away again.
    pid_file.write_text(json.dumps({"pid": os.getpid(), "born": "0"}))
    told = broker.stop(settings.local, settings.run_dir)
    assert told.note == f"removed a stale pid file: process {os.getpid()} is gone"
    assert not pid_file.exists()
    assert broker.status(settings.local, settings.run_dir).note == "not running"


@pytest.mark.real
def test_a_broker_from_start_to_stop(settings: Settings) -> None:
    local, run_dir = settings.local, settings.run_dir
    first = broker.start(local, run_dir)
    assert first.running
    assert broker.start(local, run_dir).note == "was running"
    ensure_topics(settings)

    process = ProcessRecord.of(first.pid or 0)
    process.stop(patience_s=0)
    again = broker.start(local, run_dir)
    assert again.note.startswith(f"removed a stale pid file: process {first.pid} is gone; started")
    check_topics(settings)

    assert broker.stop(local, run_dir).note == "stopped"
    assert broker.stop(local, run_dir).note == "was not running"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((local.host, local.port))


@pytest.mark.real
def test_a_broker_that_dies_at_its_start_leaves_its_last_words(settings: Settings) -> None:
    data = settings.run_dir / "broker" / "data"
    data.mkdir(parents=True)
    (data / "meta.properties").write_text("version=1\nnode.id=7\ncluster.id=x\n")
    with pytest.raises(BrokerError, match="did not start") as error:
        broker.start(settings.local, settings.run_dir)
    assert "node id 7" in error.value.received
    assert not broker.status(settings.local, settings.run_dir).running

"""One real broker for the whole test session, and topics of its own for each test.

Tests that ask for ``broker_settings`` or ``settings`` carry ``@pytest.mark.real``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Settings, load_settings

_numbers = count(1)


def pytest_configure() -> None:
    """Every JVM compiles quickly rather than well, unless told: none lives long enough to gain."""
    os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Which tests run in one process if there are several: those of a file, which share what it
    sets up; of files with real ones all, which share their broker and wait more than they work."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "real" if "mark.real" in _text_of(config.rootpath / file) else file

    return Scheduling(config, log)


@cache
def _text_of(path: Path) -> str:
    return path.read_text()


@pytest.fixture(scope="session")
def free_ports() -> Callable[[int], list[int]]:
    """Ports of the loopback address that nobody listens on."""

    from deploy.local.ports import free_ports

    return free_ports


@pytest.fixture
def job_jars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of jars that are there; no JVM comes as far as to open them."""
    from deploy.local import cluster_config
    from pipeline import flink

    folder = tmp_path / "jars"
    folder.mkdir()
    for name in flink.NEEDED_JARS:
        (folder / name).touch()
    for module in (flink, cluster_config):
        monkeypatch.setattr(module, "JARS", folder)
    return folder


@pytest.fixture(scope="session")
def broker_settings(
    tmp_path_factory: pytest.TempPathFactory, free_ports: Callable[[int], list[int]]
) -> Iterator[Settings]:
    """Settings of a broker that runs for the whole session; its topics are not made yet."""
    from deploy.local import broker

    port, controller_port = free_ports(2)
    settings = load_settings(
        flags={
            "local.port": port,
            "local.controller_port": controller_port,
            "kafka.bootstrap_servers": f"127.0.0.1:{port}",
            "run_dir": tmp_path_factory.mktemp("run"),
        },
        environ={},
    )
    broker.start(settings.local, settings.run_dir)
    yield settings
    broker.stop(settings.local, settings.run_dir)


@pytest.fixture
def settings(broker_settings: Settings, tmp_path: Path) -> Settings:
    """Settings of the session's broker with topics and folders of this test's own."""
    from pipeline.topics import ensure_topics

    number = next(_numbers)
    kafka = broker_settings.kafka.model_copy(
        update={
            f"{topic}_topic": f"{topic}-{number}"
            for topic in ("events", "control", "recommendations", "dead_letters")
        }
    )
    engine = broker_settings.engine.model_copy(update={"store": tmp_path / "store"})
    own = broker_settings.model_copy(
        update={"kafka": kafka, "engine": engine, "run_dir": tmp_path / "run"}
    )
    ensure_topics(own)
    return own

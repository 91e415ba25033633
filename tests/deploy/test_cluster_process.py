"""How a process of the cluster is started."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from deploy.local.cluster_config import ClusterFolder, added_jars
from deploy.local.cluster_process import launch
from deploy.local.process import ProcessRecord
from pipeline.sections import ClusterSettings


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """What would have been started."""
    started: list[Sequence[str]] = []

    def started_not(command: Sequence[str], output: Path, folder: Path) -> ProcessRecord:
        started.append(command)
        return ProcessRecord.of(os.getpid())

    monkeypatch.setattr(ProcessRecord, "launch", started_not)
    return started


@pytest.mark.parametrize("name", ["jobmanager-1", "taskmanager-2", "zookeeper"])
def test_hadoop_stays_on_the_class_path(
    name: str, commands: list[Sequence[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HADOOP_CLASSPATH", "/hadoop/*")
    folder = ClusterFolder(tmp_path)
    folder.root.mkdir()
    launch(name, ClusterSettings(), folder, tmp_path)
    jars = os.pathsep.join(map(str, added_jars()))
    assert f"HADOOP_CLASSPATH={jars}{os.pathsep}/hadoop/*" in commands[0]

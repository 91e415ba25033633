from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.local import cluster
from deploy.local.cluster_config import ClusterFolder
from deploy.local.cluster_process import ClusterProcess
from pipeline.cli import app


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def told(*words: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["cluster", *words, "--json"])
    assert done.exit_code == 0, done.output
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_nothing_runs() -> None:
    for words, note in (("status", "not running"), ("down", "was not running")):
        result = told(words)
        assert (result["running"], result["note"]) == (False, note)
        assert result["url"] == "http://127.0.0.1:19081"
    assert told("logs") == {"logs": []}


def test_up_hands_settings_and_number_on(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def start(options: Any, run_dir: Path, taskmanagers: int | None) -> cluster.ClusterStatus:
        given.extend((options.rest_port, run_dir, taskmanagers))
        return cluster.status(options, run_dir)

    monkeypatch.setattr(cluster, "start", start)
    told("up", "--taskmanagers", "3", "--set", "cluster.rest_port=8081", "--set", "run_dir=here")
    told("up")
    assert given == [8081, Path("here"), 3, 19081, Path(".headrace"), None]


def test_logs_end_where_they_are_asked_to() -> None:
    logs = Path(".headrace/cluster/logs")
    logs.mkdir(parents=True)
    (logs / "jobmanager-1.out").write_text("one\ntwo\nthree\n")
    (logs / "jobmanager-1.log.1").write_text("an older one\n")
    assert told("logs", "--lines", "2") == {
        "logs": [{"file": str(logs.resolve() / "jobmanager-1.out"), "tail": "two\nthree"}]
    }
    shown = CliRunner().invoke(app, ["cluster", "logs"]).stdout
    assert shown == f"logs.1.file = {logs.resolve() / 'jobmanager-1.out'}\none\ntwo\nthree\n"


def test_a_process_that_is_gone_is_told() -> None:
    folder = ClusterFolder(Path(".headrace"))
    folder.root.mkdir(parents=True)
    ClusterProcess(os.getpid(), "0").write(folder.pid("taskmanager-1"))
    result = told("status")
    assert result["note"] == "taskmanager-1 is gone; `headrace cluster up` mends it"
    assert [one["alive"] for one in result["taskmanagers"]] == [False]

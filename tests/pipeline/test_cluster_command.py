from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.local import cluster
from deploy.local.cluster_config import ClusterFolder
from deploy.local.cluster_process import ClusterProcess
from pipeline import warm_up
from pipeline.cli import app
from pipeline.config import Settings, load_settings
from pipeline.rest import FlinkRest
from schemas.errors import FlinkError


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


def started(monkeypatch: pytest.MonkeyPatch, free_slots: int, *names: str) -> None:
    """As if `cluster.start` had started these processes."""
    now = cluster.status(load_settings(environ={}).cluster, Path(".headrace"))
    then = replace(now, running=True, free_slots=free_slots, started=list(names))
    monkeypatch.setattr(cluster, "start", lambda *_: then)


@pytest.mark.parametrize(
    ("free_slots", "names", "warmed"),
    [
        (2, ["jobmanager-1", "taskmanager-1"], [2]),
        (2, ["jobmanager-1"], []),
        (2, [], []),
        (0, ["taskmanager-1"], []),  # a job that waited for it has it already
    ],
)
def test_up_warms_what_is_new_and_free(
    monkeypatch: pytest.MonkeyPatch, free_slots: int, names: list[str], warmed: list[int]
) -> None:
    given: list[int] = []

    def warm(settings: Settings, rest: FlinkRest, slots: int) -> float:
        given.append(slots)
        return 1.26

    monkeypatch.setattr(warm_up, "warm_up", warm)
    started(monkeypatch, free_slots, *names)
    assert told("up")["warm_up_s"] == (1.3 if warmed else None)
    assert given == warmed


@pytest.mark.parametrize("error", [FlinkError("the TaskManagers are not warm"), OSError("gone")])
def test_a_cluster_that_is_not_warm_is_up_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> float:
        raise error

    monkeypatch.setattr(warm_up, "warm_up", fail)
    started(monkeypatch, 1, "taskmanager-1")
    done = CliRunner().invoke(app, ["cluster", "up", "--json"])
    assert (done.exit_code, json.loads(done.stdout)["warm_up_s"]) == (0, None)
    assert f"warning: {error}" in " ".join(done.stderr.split())


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

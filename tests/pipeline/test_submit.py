from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyflink.version import __version__ as flink_version
from rich.console import Console

from deploy.local.cluster_config import added_jars
from pipeline import submit as submitting
from pipeline.config import Settings, load_settings
from pipeline.jvm import jvm_errors
from pipeline.rest import FlinkRest
from pipeline.run import free_ports
from pipeline.submit import (
    check_cluster,
    going_on_from,
    jars_to_send,
    remote,
    staged_packages,
    wait_until_running,
)
from schemas.errors import FlinkError
from tests.pipeline.jobmanager import JobManager, job, jobmanager

QUIET = Console(quiet=True)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(flags={"run_dir": tmp_path, "job.parallelism": 2}, environ={})


@pytest.fixture
def flink() -> Iterator[JobManager]:
    """An empty cluster with two slots."""
    with jobmanager() as answers:
        overview = {"flink-version": flink_version, "slots-available": 2, "slots-total": 3}
        answers.answers = {"/overview": overview, "/jobs/overview": {"jobs": []}}
        yield answers


def test_an_empty_cluster_with_room_is_fine(settings: Settings, flink: JobManager) -> None:
    flink.answers["/jobs/overview"]["jobs"] = [
        job("a", "RUNNING", name="another"),
        job("b", "FAILED"),
    ]
    check_cluster(settings, flink)


def test_no_jobmanager(settings: Settings) -> None:
    [port] = free_ports(1)
    with pytest.raises(FlinkError, match="No JobManager answers") as error:
        check_cluster(settings, FlinkRest(f"http://127.0.0.1:{port}"))
    assert "headrace cluster up" in error.value.fix


def test_another_flink(settings: Settings, flink: JobManager) -> None:
    flink.answers["/overview"]["flink-version"] = "1.20.0"
    with pytest.raises(FlinkError, match="another Flink") as error:
        check_cluster(settings, flink)
    assert (flink_version in error.value.expected, error.value.received) == (True, "1.20.0")


def test_the_same_job_twice(settings: Settings, flink: JobManager) -> None:
    flink.answers["/jobs/overview"]["jobs"] = [job("a", "RESTARTING")]
    with pytest.raises(FlinkError, match="is there already") as error:
        check_cluster(settings, flink)
    assert error.value.received == "a, RESTARTING"


def test_no_free_slot(settings: Settings, flink: JobManager) -> None:
    flink.answers["/overview"]["slots-available"] = 1
    with pytest.raises(FlinkError, match="no room") as error:
        check_cluster(settings, flink)
    assert (error.value.expected.split()[0], error.value.received) == ("2", "1 of 3")


def test_what_is_no_flink_at_all(settings: Settings, flink: JobManager) -> None:
    flink.answers["/overview"] = 404
    with pytest.raises(FlinkError, match="Flink refused"):
        check_cluster(settings, flink)


@pytest.mark.usefixtures("job_jars")
def test_the_client_is_told_where_the_cluster_is_and_what_to_send(
    flink: JobManager, tmp_path: Path
) -> None:
    flink.answers["/jobmanager/environment"] = {"classpath": ["/flink/lib/flink-dist-2.2.1.jar"]}
    told = remote(FlinkRest(flink.url), tmp_path)
    assert f"http://{told['rest.address']}:{told['rest.port']}" == flink.url
    jars = told["pipeline.jars"].split(";")
    assert any("flink-python-" in jar for jar in jars)
    assert all(urllib.request.urlopen(jar) for jar in jars)


@pytest.mark.usefixtures("job_jars")
def test_the_client_is_sent_to_the_standby_once_the_leader_is_gone(
    flink: JobManager, tmp_path: Path
) -> None:
    [gone] = free_ports(1)
    flink.answers["/jobmanager/environment"] = {"classpath": []}
    told = remote(FlinkRest(f"http://127.0.0.1:{gone}", flink.url), tmp_path)
    assert f"http://{told['rest.address']}:{told['rest.port']}" == flink.url


def test_a_jobmanager_that_is_gone_is_not_taken_for_the_clients_jvm(
    settings: Settings, tmp_path: Path
) -> None:
    [gone] = free_ports(1)
    with pytest.raises(FlinkError, match="No JobManager answers"), jvm_errors(settings):
        remote(FlinkRest(f"http://127.0.0.1:{gone}"), tmp_path)


@pytest.mark.usefixtures("job_jars")
def test_what_the_cluster_has_on_its_class_path_is_not_sent() -> None:
    has = [f"/elsewhere/{jar.name}" for jar in added_jars()]
    all_of_them = {jar.name for jar in jars_to_send([])}
    assert {jar.name for jar in jars_to_send(has[:1])} == all_of_them - {added_jars()[0].name}
    # Ours has no version in its name: what is there may be of another release.
    assert [jar.name for jar in jars_to_send([*has, "/x/headrace-udfs.jar"])] == [
        "headrace-udfs.jar"
    ]


def test_packages_are_staged_without_what_the_workers_do_not_need(tmp_path: Path) -> None:
    (tmp_path / "old" / "left.py").mkdir(parents=True)
    folder = staged_packages(tmp_path / "old")
    assert sorted(one.name for one in folder.iterdir()) == ["engines", "schemas", "udfs"]
    assert (folder / "udfs" / "rank.py").is_file()
    assert not any(folder.rglob("*.jar"))
    assert not any(folder.rglob("*.java"))


def vertices(*states: str) -> dict[str, Any]:
    return {"state": "RUNNING", "vertices": [{"status": state} for state in states]}


def failures(count: int) -> dict[str, Any]:
    trace = {"stacktrace": "java.lang.Exception: x\nCaused by: java.io.EOFException\n"}
    return {"exceptionHistory": {"entries": [trace] * count}}


def test_it_waits_until_every_task_runs(settings: Settings, flink: JobManager) -> None:
    flink.answers["/jobs/a/exceptions"] = failures(0)
    flink.answers["/jobs/a"] = [
        404,  # the JobManager is making it up
        vertices("RUNNING", "INITIALIZING"),
        vertices("RUNNING", "RUNNING"),
    ]
    wait_until_running(settings, flink, "a", QUIET)
    assert len(flink.answers["/jobs/a"]) == 1


def test_a_job_that_fails_is_told_with_its_cause(settings: Settings, flink: JobManager) -> None:
    flink.answers["/jobs/a/exceptions"] = failures(1)
    flink.answers["/jobs/a"] = vertices("CANCELED") | {"state": "FAILED"}
    with pytest.raises(FlinkError, match="the job does not run") as error:
        wait_until_running(settings, flink, "a", QUIET)
    assert error.value.received == "FAILED: java.io.EOFException"
    assert f"{flink.url}/#/job/a/exceptions" in error.value.fix
    assert not [one for one in flink.asked if one[0] == "PATCH"]


def test_a_job_that_fails_again_and_again_is_cancelled_and_an_older_state_advised(
    settings: Settings, flink: JobManager
) -> None:
    older = settings.run_dir / "checkpoints" / "a" / "chk-1"
    older.mkdir(parents=True)
    (older / "_metadata").touch()
    flink.answers["/jobs/a/exceptions"] = failures(settings.job.quarantine_after + 1)
    flink.answers["/jobs/a"] = vertices("INITIALIZING") | {"state": "RESTARTING"}
    spoilt = older.with_name("chk-2").as_uri()
    with (
        pytest.raises(FlinkError, match="does not start from this state") as error,
        going_on_from(spoilt, settings),
    ):
        wait_until_running(settings, flink, "a", QUIET)
    assert spoilt in error.value.expected
    assert error.value.received == "RESTARTING: java.io.EOFException"
    assert error.value.fix.startswith(f"--from-checkpoint {older.as_uri()}; or see ")
    assert ("PATCH", "/jobs/a?mode=cancel", None) in flink.asked


def test_a_job_that_needs_too_long_is_cancelled(
    settings: Settings, flink: JobManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submitting, "RUNNING_WITHIN_S", 0.5)
    flink.answers["/jobs/a/exceptions"] = failures(0)
    flink.answers["/jobs/a"] = vertices("INITIALIZING")
    with pytest.raises(FlinkError) as error:
        wait_until_running(settings, flink, "a", QUIET)
    assert error.value.received == "STARTING: no failure is known"
    assert ("PATCH", "/jobs/a?mode=cancel", None) in flink.asked

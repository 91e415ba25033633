from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from deploy.local.process import ProcessRecord
from pipeline import kafka, operate
from pipeline.cli import app
from pipeline.config import Settings, load_settings, with_values
from pipeline.rest import FlinkRest
from pipeline.run import STATUS_FILE, free_ports
from schemas.errors import FlinkError
from tests.pipeline.jobmanager import JobManager, job, jobmanager

QUIET = Console(quiet=True)
CHECKPOINT = {
    "id": 7,
    "latest_ack_timestamp": 1_000,
    "state_size": 12,
    "external_path": "file:/run/checkpoints/a/chk-7",
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a broker that does not run."""
    port, controller = free_ports(2)
    flags = {"run_dir": tmp_path, "local.port": port, "local.controller_port": controller}
    flags["kafka.bootstrap_servers"] = f"127.0.0.1:{port}"
    return load_settings(flags=flags, environ={})


@pytest.fixture
def flink() -> Iterator[JobManager]:
    """With a running job ``a`` that has a checkpoint."""
    with jobmanager() as answers:
        checkpoints = {"latest": {"completed": CHECKPOINT}, "counts": {"failed": 2}}
        told = {"headrace.engine": "shop@1", "headrace.job.epoch": "5"}
        answers.answers = {
            "/jobs/overview": {"jobs": [job("a", "RUNNING")]},
            "/jobs/a": {"state": "RUNNING", "vertices": [{"id": "v", "status": "RUNNING"}]},
            "/jobs/a/checkpoints": checkpoints,
            "/jobs/a/config": {"execution-config": {"user-config": told}},
            "/jobs/a/vertices/v/metrics": [[]],
            "/jobs/a/exceptions": exceptions("java.lang.Error: x\nCaused by: y\n"),
        }
        yield answers


def exceptions(*traces: str) -> dict[str, Any]:
    return {"exceptionHistory": {"entries": [{"stacktrace": trace} for trace in traces]}}


@pytest.mark.parametrize("address", ["flink:8081", "http://flink:8081", "http://flink:8081/"])
def test_an_address_may_be_written_as_one_has_it(settings: Settings, address: str) -> None:
    assert operate.jobmanager(settings, address).url == "http://flink:8081"


@pytest.mark.parametrize("addresses", ["a:1,b:2", "a:1, b:2", " a:1 , http://b:2/ "])
def test_several_addresses_are_separated_by_commas(settings: Settings, addresses: str) -> None:
    assert operate.jobmanager(settings, addresses).urls == ("http://a:1", "http://b:2")


@pytest.mark.parametrize("address", ["flink", ":8081", "flink:", "flink:web", "https://flink:1/x"])
def test_what_is_no_address_is_refused(settings: Settings, address: str) -> None:
    with pytest.raises(FlinkError, match="cannot be read") as error:
        operate.jobmanager(settings, f"flink:8081,{address}")
    assert error.value.received == address


def test_without_an_address_the_running_job_is_meant_else_the_local_cluster(
    settings: Settings,
) -> None:
    assert operate.jobmanager(settings, None).urls == ("http://127.0.0.1:19081",)
    standby = with_values(settings, {"cluster.high_availability": True})
    local = ("http://127.0.0.1:19081", "http://127.0.0.1:19082")
    assert operate.jobmanager(standby, None).urls == local
    run_by_us(settings, "http://127.0.0.1:1")
    assert operate.jobmanager(standby, None).urls == ("http://127.0.0.1:1",)


def run_by_us(settings: Settings, url: str) -> None:
    """As if this process were a `headrace run`."""
    running = asdict(ProcessRecord.of(os.getpid())) | {"url": url}
    (settings.run_dir / STATUS_FILE).write_text(json.dumps(running))


def test_status_tells_of_the_job_even_without_kafka(
    settings: Settings, flink: JobManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "ANSWER_S", 0.5)
    told = operate.status(settings, flink)
    assert told["broker"]["running"] is False
    facts = told["job"]
    assert (facts["job_id"], facts["state"], facts["running_s"]) == ("a", "RUNNING", 12.3)
    assert (facts["engine"], facts["job_epoch"], facts["lag_records"]) == ("shop@1", "5", None)
    assert (facts["restarts"], facts["last_failure"], facts["failed_checkpoints"]) == (1, "y", 2)
    assert facts["checkpoint"]["path"] == CHECKPOINT["external_path"]
    assert facts["checkpoint"]["age_s"] > 1e9


def test_status_of_a_job_that_is_still_made_up(settings: Settings, flink: JobManager) -> None:
    flink.answers = {"/jobs/overview": {"jobs": [job("a", "INITIALIZING")]}}  # no more is known
    told = operate.status(settings, flink)["job"]
    assert told == {"job_id": "a", "state": "INITIALIZING", "url": flink.url}


def test_status_without_a_jobmanager_or_a_job(settings: Settings, flink: JobManager) -> None:
    flink.answers["/jobs/overview"] = {"jobs": [job("a", "RUNNING", name="another")]}
    assert operate.status(settings, flink)["job"] is None
    [port] = free_ports(1)
    assert operate.status(settings, FlinkRest(f"http://127.0.0.1:{port}"))["job"] is None


def test_the_job_meant_is_the_one_that_runs_else_the_last(
    settings: Settings, flink: JobManager
) -> None:
    jobs = [job("a", "FAILED", start=1), job("b", "RUNNING", start=2), job("c", "FAILED", start=3)]
    flink.answers["/jobs/overview"] = {"jobs": jobs}
    assert operate.find(settings, flink) == jobs[1]
    flink.answers["/jobs/overview"] = {"jobs": [jobs[0], jobs[2]]}
    assert operate.find(settings, flink) == jobs[2]


def test_the_newest_of_checkpoint_and_savepoint_counts() -> None:
    savepoint = CHECKPOINT | {"id": 8, "latest_ack_timestamp": 2_000}
    found = operate.newest_checkpoint({"completed": CHECKPOINT, "savepoint": savepoint})
    assert found is not None
    assert found["id"] == 8
    assert operate.newest_checkpoint({"completed": None, "savepoint": None}) is None
    assert operate.newest_checkpoint(dict.fromkeys(("completed", "savepoint", "restored"))) is None


def test_right_after_a_restore_the_restored_checkpoint_is_the_newest() -> None:
    path = "file:/run/checkpoints/a/chk-6"
    restored = {"id": 6, "restore_timestamp": 500, "is_savepoint": False, "external_path": path}
    found = operate.newest_checkpoint({"completed": None, "savepoint": None, "restored": restored})
    assert found == {"id": 6, "age_s": None, "size_bytes": None, "path": path}
    found = operate.newest_checkpoint({"completed": CHECKPOINT, "restored": restored})
    assert found is not None
    assert found["id"] == 7


def test_stop_names_what_remains_even_right_after_a_restore(
    settings: Settings, flink: JobManager
) -> None:
    restored = {"id": 6, "external_path": "file:/run/checkpoints/a/chk-6"}
    flink.answers["/jobs/a/checkpoints"]["latest"] = {"completed": None, "restored": restored}
    told = operate.stop(settings, flink, QUIET, savepoint=False)
    assert told["checkpoint"] == restored["external_path"]


def test_stop_cancels_and_names_the_checkpoint(settings: Settings, flink: JobManager) -> None:
    told = operate.stop(settings, flink, QUIET, savepoint=False)
    assert ("PATCH", "/jobs/a?mode=cancel", None) in flink.asked
    path = CHECKPOINT["external_path"]
    assert told == {"job_id": "a", "state": "CANCELED", "savepoint": None, "checkpoint": path}


def test_stop_with_a_savepoint_waits_for_it(settings: Settings, flink: JobManager) -> None:
    complete = {"status": {"id": "COMPLETED"}, "operation": {"location": "file:/savepoint-1"}}
    flink.answers |= {
        "/jobs/a/stop": {"request-id": "r"},
        "/jobs/a/savepoints/r": [{"status": {"id": "IN_PROGRESS"}}, complete],
        "/jobs/a": {"state": "FINISHED"},
    }
    told = operate.stop(settings, flink, QUIET, savepoint=True)
    assert (told["savepoint"], told["state"]) == ("file:/savepoint-1", "FINISHED")
    [body] = [body for method, path, body in flink.asked if path == "/jobs/a/stop"]
    folder = (settings.run_dir / "savepoints").as_uri()
    assert body == {"targetDirectory": folder, "drain": False}


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operate, "GONE_AFTER_S", 0.3)


def questions_about_its_end(flink: JobManager) -> int:
    """How often the job was asked for after it had been told to end."""
    methods = [method for method, path, _ in flink.asked if path.partition("?")[0] == "/jobs/a"]
    return len(methods) - 1 - methods.index("PATCH")


def test_the_jobmanager_of_headrace_run_closes_with_its_job(
    settings: Settings, flink: JobManager
) -> None:
    flink.after_cancel = None
    run_by_us(settings, flink.url)
    told = operate.stop(settings, flink, QUIET, savepoint=False)
    assert (told["state"], questions_about_its_end(flink)) == ("CANCELED", 1)


@pytest.mark.usefixtures("short_patience")
def test_of_another_that_is_gone_nobody_knows_what_became_of_its_job(
    settings: Settings, flink: JobManager
) -> None:
    flink.after_cancel = None
    told = operate.stop(settings, flink, QUIET, savepoint=False)
    assert told["state"] == "UNKNOWN"
    assert questions_about_its_end(flink) > 1


@pytest.mark.parametrize("unanswered", [None, 404, 503])
def test_a_question_without_an_answer_is_asked_again(
    settings: Settings, flink: JobManager, unanswered: int | None
) -> None:
    flink.after_cancel = [unanswered, {"state": "CANCELLING"}, unanswered, {"state": "CANCELED"}]
    assert operate.stop(settings, flink, QUIET, savepoint=False)["state"] == "CANCELED"
    assert questions_about_its_end(flink) == 4


def test_patience_is_with_silence_not_with_a_job_that_ends_slowly(
    flink: JobManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer begins it anew."""
    monkeypatch.setattr(operate, "GONE_AFTER_S", 3 * operate.POLL_S)
    cancelling = {"state": "CANCELLING"}
    flink.answers["/jobs/a"] = [*[cancelling] * 5, None, {"state": "CANCELED"}]
    assert operate.wait_for_the_end(flink, "a") == "CANCELED"


def test_a_jobmanager_that_is_gone_after_the_savepoint(
    settings: Settings, flink: JobManager
) -> None:
    complete = {"status": {"id": "COMPLETED"}, "operation": {"location": "file:/savepoint-1"}}
    flink.answers |= {
        "/jobs/a/stop": {"request-id": "r"},
        "/jobs/a/savepoints/r": complete,
        "/jobs/a": None,
    }
    assert operate.stop(settings, flink, QUIET, savepoint=True)["state"] == "FINISHED"


@pytest.mark.usefixtures("short_patience")
def test_the_command_fails_if_the_end_of_the_job_is_not_known(
    settings: Settings, flink: JobManager
) -> None:
    where = ["--set", f"run_dir={settings.run_dir}", "--jobmanager", flink.url]
    flink.after_cancel = None
    assert CliRunner().invoke(app, ["stop", *where]).exit_code == FlinkError.exit_code
    flink.answers["/jobs/a"] = flink.after_cancel = {"state": "CANCELED"}
    assert CliRunner().invoke(app, ["stop", *where]).exit_code == 0


def test_a_savepoint_that_fails_is_told(settings: Settings, flink: JobManager) -> None:
    cause = {"stack-trace": "java.io.IOException: disk full\n at x"}
    failed = {"status": {"id": "COMPLETED"}, "operation": {"failure-cause": cause}}
    flink.answers |= {"/jobs/a/stop": {"request-id": "r"}, "/jobs/a/savepoints/r": failed}
    with pytest.raises(FlinkError, match="the job goes on") as error:
        operate.stop(settings, flink, QUIET, savepoint=True)
    assert error.value.received == "java.io.IOException: disk full"


def test_the_standby_is_asked_when_the_leader_is_gone(
    settings: Settings, flink: JobManager, free_ports: Callable[[int], list[int]]
) -> None:
    [gone] = free_ports(1)
    rest = operate.jobmanager(settings, f"127.0.0.1:{gone},{flink.url}")
    found = operate.find(settings, rest)
    assert (found, rest.url) == (job("a", "RUNNING"), flink.url)
    assert operate.stop(settings, rest, QUIET, savepoint=False)["state"] == "CANCELED"


def test_no_jobmanager_of_several(
    settings: Settings, free_ports: Callable[[int], list[int]]
) -> None:
    urls = [f"http://127.0.0.1:{port}" for port in free_ports(2)]
    with pytest.raises(FlinkError, match="No JobManager answers") as error:
        operate.stop(settings, FlinkRest(*urls), QUIET, savepoint=False)
    assert all(url in error.value.expected and url in error.value.received for url in urls)


@pytest.mark.parametrize("state", [None, "FAILED"])
def test_no_job_to_stop(settings: Settings, flink: JobManager, state: str | None) -> None:
    flink.answers["/jobs/overview"] = {"jobs": [job("a", state)] if state else []}
    with pytest.raises(FlinkError, match="no job named headrace runs"):
        operate.stop(settings, flink, QUIET, savepoint=False)


def test_no_jobmanager_to_ask(settings: Settings) -> None:
    [port] = free_ports(1)
    with pytest.raises(FlinkError, match="No JobManager answers") as error:
        operate.stop(settings, FlinkRest(f"http://127.0.0.1:{port}"), QUIET, savepoint=False)
    assert f"127.0.0.1:{port}" in error.value.expected


def test_what_flink_refuses_is_told_in_its_words(settings: Settings, flink: JobManager) -> None:
    flink.answers["/jobs/a/stop"] = 409
    with pytest.raises(FlinkError, match="Flink refused") as error:
        operate.stop(settings, flink, QUIET, savepoint=True)
    assert error.value.received.startswith("409")

"""What `headrace run` makes of its settings, and knows of its job, without a job."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from pipeline import run
from pipeline.config import load_settings
from pipeline.run import RunningJob, with_epoch
from tests.pipeline.jobmanager import JobManager, jobmanager

JOB = "/jobs/j1"


class Client:
    """Flink's client of a job that runs on until it is cancelled."""

    def get_job_id(self) -> str:
        return "j1"

    def get_job_execution_result(self) -> Future[Any]:
        return Future()

    def cancel(self) -> Future[None]:
        done: Future[None] = Future()
        done.set_result(None)
        return done


def knows(manager: JobManager, *, failures: int) -> None:
    entries = [{"stacktrace": "java.lang.Exception: no"}] * failures
    manager.answers |= {
        JOB: {"state": "RUNNING", "vertices": []},
        f"{JOB}/exceptions": {"exceptionHistory": {"entries": entries}},
        "/overview": {"taskmanagers": 1},
        f"{JOB}/checkpoints": {"latest": {"completed": {"state_size": 7}}},
    }


def job_of(manager: JobManager, tell: Callable[[str], None] = print) -> RunningJob:
    return RunningJob(Client(), int(manager.url.rpartition(":")[2]), tell)  # type: ignore[arg-type]


def test_an_epoch_that_is_set_stays_and_another_is_the_time() -> None:
    settings = load_settings(environ={}, flags={"job.epoch": 7})
    assert with_epoch(settings).job.epoch == 7
    assert with_epoch(load_settings(environ={})).job.epoch > 1_700_000_000_000


def test_a_restart_just_before_the_end_is_counted() -> None:
    """A running job is asked every two seconds only, and it restarts in less."""
    with jobmanager() as manager:
        knows(manager, failures=0)
        job = job_of(manager)
        assert (job.state(), job.restarts) == ("RUNNING", 0)
        knows(manager, failures=1)
        assert (job.state(), job.restarts) == ("RUNNING", 0)
        job.cancel()
        assert (job.restarts, job.state_bytes) == (1, 7)


def test_each_taskmanager_that_ends_itself_is_replaced_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class MiniCluster:
        def startTaskManager(self) -> None:  # noqa: N802, Flink's name
            started.append(len(told))

    #       none yet, one, gone, the next one starts, it is there, gone
    seen = (0, 0, 1, 1, 0, 0, 0, 1, 1, 0)
    told, started = list[str](), list[int]()
    monkeypatch.setattr(run, "mini_cluster_of", lambda client: MiniCluster())
    with jobmanager() as manager:
        knows(manager, failures=0)
        manager.answers[JOB] = {"state": "RESTARTING", "vertices": []}
        manager.answers["/overview"] = [{"taskmanagers": count} for count in seen]
        job = job_of(manager, told.append)
        counts = []
        for _ in seen:
            job.state()
            counts.append(len(started))
    assert counts == [0, 0, 0, 0, 1, 1, 1, 1, 1, 2]
    assert started == [1, 2]  # told first

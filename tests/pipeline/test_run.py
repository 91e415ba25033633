"""What `headrace run` makes of its settings, and knows of its job, without a job."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

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
        f"{JOB}/checkpoints": {"latest": {"completed": {"state_size": 7}}},
    }


def test_an_epoch_that_is_set_stays_and_another_is_the_time() -> None:
    settings = load_settings(environ={}, flags={"job.epoch": 7})
    assert with_epoch(settings).job.epoch == 7
    assert with_epoch(load_settings(environ={})).job.epoch > 1_700_000_000_000


def test_a_restart_just_before_the_end_is_counted() -> None:
    """A running job is asked every two seconds only, and it restarts in less."""
    with jobmanager() as manager:
        knows(manager, failures=0)
        job = RunningJob(Client(), int(manager.url.rpartition(":")[2]))  # type: ignore[arg-type]
        assert (job.state(), job.restarts) == ("RUNNING", 0)
        knows(manager, failures=1)
        assert (job.state(), job.restarts) == ("RUNNING", 0)
        job.cancel()
        assert (job.restarts, job.state_bytes) == (1, 7)

"""Run the job on this machine, or print its plan.

The job runs in a Flink mini cluster inside a JVM that is a child of this process, and its Python
part in a process of its own. Ending this process, however it ends, ends all three.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

from deploy.local.cluster_rest import NO_ANSWER
from deploy.local.ports import free_ports
from deploy.local.process import ProcessRecord
from engines.active import Active
from engines.backends import open_backend
from engines.backends.tensorrt.plans import check_plan
from engines.registry import Registry
from pipeline import flink, kafka, plan
from pipeline.config import Settings, with_values
from pipeline.jvm import innermost_cause, jvm_errors, jvm_gone
from pipeline.rest import ENDED, FlinkRest
from pipeline.rights import check_job_rights
from pipeline.topics import check_topics
from schemas.errors import FlinkError

if TYPE_CHECKING:
    from py4j.java_gateway import JavaObject
    from pyflink.common.job_client import JobClient
    from rich.console import Console

POLL_S = 0.2
ASK_EVERY_S = 2.0
STATUS_FILE = "job.json"
LOCK_FILE = "job.lock"
CANCELLED = "org.apache.flink.runtime.client.JobCancellationException"
"""How a job ends for its client when somebody else cancelled it, such as `headrace stop`."""
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class RunningJob:
    """A job in a mini cluster of ours, asked over Flink's REST interface on loopback.

    The interface closes with the job, so its end is told by the client instead. The cluster has one
    TaskManager, and Flink ends a TaskManager whose task fails to clean up after a failure, as the
    task of a killed Python worker now and then does: it writes to a channel that its own interrupt
    has closed. Nobody but us would start another one.

    Args:
        client: of the job.
        web_port: of the interface.
        tell: of what the reader should know, a line each.

    Attributes:
        url: of the web page and REST interface.
        job_id: Flink's id of the job.
        restarts: how often it was restarted after a failure, as last seen.
        state_bytes: size of the newest complete checkpoint, as last seen.
    """

    def __init__(self, client: JobClient, web_port: int, tell: Callable[[str], None]) -> None:
        self.url = f"http://127.0.0.1:{web_port}"
        self.job_id = str(client.get_job_id())
        self.restarts = 0
        self.state_bytes = 0
        self._rest = FlinkRest(self.url)
        self._state = "STARTING"
        self._asked_s = 0.0
        self._tell = tell
        self._has_taskmanager = False
        self._client = client
        self._end = client.get_job_execution_result()

    def state(self) -> str:
        """As `FlinkRest.state`."""
        if self._end.done():
            if self._end.exception() is None:
                return "FINISHED"
            return "CANCELED" if self.failure().startswith(CANCELLED) else "FAILED"
        # To answer costs the job time: a running one is asked now and then only.
        if self._state != "RUNNING" or time.monotonic() - self._asked_s > ASK_EVERY_S:
            self._ask()
        return self._state

    def failure(self) -> str:
        """Why it failed: the innermost cause."""
        return innermost_cause(str(self._end.exception()))

    def cancel(self) -> None:
        self._ask()  # it may have restarted since it was last asked
        self._client.cancel().result()

    def _ask(self) -> None:
        self._asked_s = time.monotonic()
        try:
            self._state = self._rest.state(self.job_id)
            self.restarts = len(self._rest.failures(self.job_id))
            self.state_bytes = self._rest.state_bytes(self.job_id)
            self._keep_taskmanager()
        except NO_ANSWER:
            self._state = "STARTING"

    def _keep_taskmanager(self) -> None:
        """Start one if there was one and is none; a new one takes a moment to be seen."""
        had, self._has_taskmanager = self._has_taskmanager, self._rest.taskmanagers() > 0
        if had and not self._has_taskmanager:
            self._tell("the TaskManager ended itself, see Flink's log; another one is started")
            mini_cluster_of(self._client).startTaskManager()


def mini_cluster_of(client: JobClient) -> JavaObject:
    """The cluster that a client's job runs in, which Flink shows its own tests only."""
    from pyflink.util.java_utils import get_field_value

    return get_field_value(client._j_job_client, "miniCluster")


def explain(settings: Settings) -> dict[str, Any]:
    """The plan of the job as Flink would run it, without running it.

    Returns:
        ``{"plan": text}``.
    """
    with jvm_errors(settings):
        tables = flink.table_environment(settings, flink.mini_cluster(0))
        return {"plan": str(plan.load(tables, settings, plan.ANY_ENGINE).explain())}


def run(
    settings: Settings,
    console: Console,
    *,
    seconds: float | None = None,
    bounded: bool = False,
) -> dict[str, Any]:
    """Run the job until it is stopped (SIGINT, SIGTERM), or is over.

    Args:
        settings: ``job.epoch`` 0 becomes the present time in ms.
        console: for progress.
        seconds: stop after so long; None: run on.
        bounded: read to the present end of the topics, then finish.

    Returns:
        ``{"job_id", "state", "restarts", "start_s", "job_epoch", "state_bytes"}``, the last of the
        newest complete checkpoint, 0 without one.

    Raises:
        HeadraceError: something that the job needs is missing, or the job failed.
    """
    started = time.monotonic()
    settings = with_epoch(settings)
    flink.jars()
    engine = check_engine(settings)
    check_topics(settings)
    check_job_rights(settings)
    kafka.check_transactions(settings)
    with one_job(settings) as announce, stopping_on_signals() as stop, jvm_errors(settings):
        running = submit(settings, console, engine, bounded)
        wait_for(running, {"RUNNING", *ENDED}, stop)
        start_s = round(time.monotonic() - started, 1)
        announce(running, start_s)
        console.print(f"job {running.job_id} runs with {engine.label} after {start_s} s")
        console.print(f"Flink's page: {running.url}", soft_wrap=True)
        state = finish(running, settings, stop, seconds)
        return {
            "job_id": running.job_id,
            "state": state,
            "restarts": running.restarts,
            "start_s": start_s,
            "job_epoch": settings.job.epoch,
            "state_bytes": running.state_bytes,
        }


def submit(settings: Settings, console: Console, engine: Active, bounded: bool) -> RunningJob:
    [web_port] = free_ports(1)
    if bounded:
        settings = flink.for_backfill(settings)
    tables = flink.table_environment(settings, flink.mini_cluster(web_port))
    client = plan.load(tables, settings, engine, bounded=bounded).execute().get_job_client()
    return RunningJob(client, web_port, console.print)


def finish(job: RunningJob, settings: Settings, stop: Stop, seconds: float | None) -> str:
    """Wait for the end of the job, or end it; its last state."""
    deadline = None if seconds is None else time.monotonic() + seconds
    try:
        state = wait_for(job, ENDED, stop, deadline)
        if state not in ENDED:
            job.cancel()
            state = "CANCELED"
    except jvm_gone():
        if not stop.asked:
            raise
        state = "CANCELED"  # the signal went to the JVM too, and it was quicker
    if state == "FAILED":
        raise FlinkError(
            "the job failed",
            expected="a job that runs until it is stopped",
            received=job.failure(),
            fix=f"see the logs in {settings.run_dir / 'flink'}",
        )
    return state


def with_epoch(settings: Settings) -> Settings:
    """Settings with a job epoch: the present time in ms unless one is set."""
    if settings.job.epoch:
        return settings
    return with_values(settings, {"job.epoch": time.time_ns() // 1_000_000})


def check_engine(settings: Settings, *, here: bool = True) -> Active:
    """Verify the active engine before a JVM is started for it; returns which it is.

    Args:
        here: it is to run on this machine, so that TensorRT must too, if it is asked for.
    """
    bundle, active = Registry(settings.engine.store).open_active()
    if settings.engine.backend == "tensorrt":
        check_plan(bundle)
        if here:
            open_backend(bundle, backend="tensorrt")
    return active


@dataclass(slots=True)
class Stop:
    """Set by a signal, read by the waiting loop."""

    asked: bool = False


@contextmanager
def stopping_on_signals() -> Iterator[Stop]:
    stop = Stop()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.asked = True
        # The signal may have gone to the JVM as well; py4j would log a traceback about its end.
        logging.disable()

    before = {number: signal.signal(number, ask) for number in STOPPING}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        logging.disable(logging.NOTSET)


def wait_for(job: RunningJob, states: set[str], stop: Stop, deadline: float | None = None) -> str:
    """The state of the job once it is one of ``states``, stop was asked for, or time is over."""
    while True:
        state = job.state()
        over = deadline is not None and time.monotonic() >= deadline
        if state in states or stop.asked or over:
            return state
        time.sleep(POLL_S)


@contextmanager
def one_job(settings: Settings) -> Iterator[Callable[[RunningJob, float], None]]:
    """``run_dir/job.json`` while the job runs, for other commands to find it.

    Raises:
        FlinkError: a job with this run folder is running or starting.
    """
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    path = settings.run_dir / STATUS_FILE

    def announce(job: RunningJob, start_s: float) -> None:
        status = {"job_id": job.job_id, "url": job.url, "start_s": start_s}
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(ProcessRecord.of(os.getpid())) | status))
        partial.replace(path)

    with (settings.run_dir / LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            status = job_status(settings)
            raise FlinkError(
                "a job runs already",
                expected="one job per run folder",
                received=f"process {status['pid']}, {status['url']}" if status else "one starting",
                fix="stop it, or set run_dir to another folder",
            ) from error
        try:
            yield announce
        finally:
            path.unlink(missing_ok=True)


def job_status(settings: Settings) -> dict[str, Any] | None:
    """What ``headrace run`` tells of a job that runs with this run folder; None without one."""
    try:
        status: dict[str, Any] = json.loads((settings.run_dir / STATUS_FILE).read_text())
    except FileNotFoundError:
        return None
    return status if ProcessRecord(status["pid"], status["born"]).alive else None

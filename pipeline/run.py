"""Run the job on this machine, or print its plan.

The job runs in a Flink mini cluster inside a JVM that is a child of this process, and its Python
part in a process of its own. Ending this process, however it ends, ends all three.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from engines.registry import Registry
from pipeline import flink, job, kafka
from pipeline.config import Settings
from schemas.errors import FlinkError

if TYPE_CHECKING:
    from rich.console import Console

POLL_S = 0.2
ENDED = {"FINISHED", "CANCELED", "FAILED"}


@dataclass(frozen=True, slots=True)
class WebJob:
    """A running job, asked over Flink's REST interface on loopback."""

    url: str
    job_id: str

    def get(self, path: str = "") -> Any:
        with urllib.request.urlopen(f"{self.url}/jobs/{self.job_id}{path}", timeout=5) as reply:  # noqa: S310 - loopback
            return json.load(reply)

    def state(self) -> str:
        """Flink's job state, but RUNNING only when every task runs."""
        try:
            status = self.get()
        except (urllib.error.URLError, OSError):
            return "STARTING"
        tasks = {vertex["status"] for vertex in status["vertices"]}
        if status["state"] == "RUNNING" and not tasks <= {"RUNNING", "FINISHED"}:
            return "STARTING"
        return str(status["state"])

    def restarts(self) -> int:
        """How often the job was restarted after a failure."""
        reply = self.get("/metrics?get=numRestarts")
        return int(reply[0]["value"]) if reply else 0

    def failure(self) -> str:
        """The first lines of the newest failure, empty if there is none."""
        entries = self.get("/exceptions")["exceptionHistory"]["entries"]
        if not entries:
            return ""
        lines = entries[0]["stacktrace"].splitlines()
        causes = [line for line in lines if line and not line.startswith(("\t", "..."))]
        return causes[-1][:500] if causes else ""


def plan(settings: Settings) -> dict[str, Any]:
    """The plan of the job as Flink would run it, without running it.

    Returns:
        ``{"plan": text}``.
    """
    tables = flink.table_environment(settings)
    return {"plan": job.build(tables, settings).explain()}


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
        ``{"job_id", "state", "restarts", "start_s", "job_epoch"}``.

    Raises:
        HeadraceError: something that the job needs is missing, or the job failed.
    """
    started = time.monotonic()
    settings = with_epoch(settings)
    flink.jars()
    engine = check_engine(settings)
    kafka.check_topics(settings)
    with status_file(settings) as announce:
        web_port = free_port()
        tables = flink.table_environment(settings, web_port)
        client = job.build(tables, settings, bounded=bounded).execute().get_job_client()
        web = WebJob(f"http://127.0.0.1:{web_port}", str(client.get_job_id()))
        with stopping_on_signals() as stop:
            wait_for(web, {"RUNNING", *ENDED}, stop)
            start_s = round(time.monotonic() - started, 1)
            announce(web, start_s)
            console.print(f"job {web.job_id} runs with {engine} after {start_s} s: {web.url}")
            deadline = None if seconds is None else time.monotonic() + seconds
            state = wait_for(web, ENDED, stop, deadline)
        result = {
            "job_id": web.job_id,
            "state": state,
            "restarts": web.restarts(),
            "start_s": start_s,
            "job_epoch": settings.job.epoch,
        }
        if state == "FAILED":
            raise FlinkError(
                "the job failed",
                received=web.failure(),
                fix=f"see the logs in {settings.run_dir / 'flink'}",
            )
        if state not in ENDED:
            client.cancel().result()
            result["state"] = "CANCELED"
        return result


def with_epoch(settings: Settings) -> Settings:
    """Settings with a job epoch: the present time in ms unless one is set."""
    if settings.job.epoch:
        return settings
    epoch = time.time_ns() // 1_000_000
    return settings.model_copy(update={"job": settings.job.model_copy(update={"epoch": epoch})})


def check_engine(settings: Settings) -> str:
    """Verify the active engine before a JVM is started for it; its name@version."""
    bundle, _ = Registry(settings.engine.store).open_active()
    return bundle.label


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class Stop:
    """Set by a signal, read by the waiting loop."""

    asked: bool = False


@contextmanager
def stopping_on_signals() -> Iterator[Stop]:
    stop = Stop()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wait_for(web: WebJob, states: set[str], stop: Stop, deadline: float | None = None) -> str:
    """The state of the job once it is one of ``states``, stop was asked for, or time is over."""
    while True:
        state = web.state()
        over = deadline is not None and time.monotonic() >= deadline
        if state in states or stop.asked or over:
            return state
        time.sleep(POLL_S)


@contextmanager
def status_file(settings: Settings) -> Iterator[Any]:
    """``run_dir/job.json`` while the job runs, for other commands to find it.

    Raises:
        FlinkError: a job with this run folder is running already.
    """
    path = settings.run_dir / "job.json"
    refuse_second_job(path)

    def announce(web: WebJob, start_s: float) -> None:
        status = {"pid": os.getpid(), "job_id": web.job_id, "url": web.url, "start_s": start_s}
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(status))
        partial.replace(path)

    try:
        yield announce
    finally:
        path.unlink(missing_ok=True)


def refuse_second_job(path: Path) -> None:
    if not path.is_file():
        return
    status = json.loads(path.read_text())
    try:
        os.kill(status["pid"], 0)
    except ProcessLookupError:
        path.unlink()
    else:
        raise FlinkError(
            "a job runs already",
            expected="one job per run folder",
            received=f"process {status['pid']}, {status['url']}",
            fix="stop it, or set run_dir to another folder",
        )

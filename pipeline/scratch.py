"""A broker and a job for one command alone (demo, bench): started by it, gone with it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from deploy.local import broker
from pipeline import kafka
from pipeline.config import Settings, as_environment, with_values
from pipeline.run import free_ports, job_status
from schemas.errors import FlinkError

if TYPE_CHECKING:
    from rich.console import Console

START_WITHIN_S = 90
POLL_S = 0.1


def scratch_settings(settings: Settings, name: str, more: Mapping[str, object]) -> Settings:
    """Settings with free ports and an empty folder and engine store.

    Args:
        settings: limits and job settings to keep.
        name: of the folder in ``run_dir``; what was in it is deleted.
        more: further values, by dotted names.
    """
    port, controller_port = free_ports(2)
    run_dir = settings.run_dir / name
    shutil.rmtree(run_dir, ignore_errors=True)
    return with_values(
        settings,
        {
            "run_dir": run_dir,
            "engine.store": run_dir / "engines",
            "local.port": port,
            "local.controller_port": controller_port,
            "kafka.bootstrap_servers": f"{settings.local.host}:{port}",
            **more,
        },
    )


@contextmanager
def running_broker(settings: Settings, console: Console) -> Iterator[None]:
    """A broker with our topics, stopped at the end."""
    status = broker.start(settings.local, settings.run_dir)
    try:
        console.print(f"broker at {status.bootstrap_servers}: {status.note}")
        kafka.ensure_topics(settings)
        yield
    finally:
        broker.stop(settings.local, settings.run_dir)


@contextmanager
def running_job(settings: Settings, console: Console) -> Iterator[subprocess.Popen[bytes]]:
    """``headrace run`` in a process of its own, stopped at the end."""
    with started_job(settings) as job:
        status = wait_until_running(settings, job)
        console.print(f"job {status['job_id']} runs after {status['start_s']} s: {status['url']}")
        yield job


@contextmanager
def started_job(settings: Settings, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """``headrace run`` with more options, not waited for; stopped at the end if it still runs."""
    with (settings.run_dir / "job.log").open("wb") as output:
        job = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "run", "--json", *options],
            env=os.environ | as_environment(settings),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield job
    finally:
        job.send_signal(signal.SIGTERM)
        job.wait(START_WITHIN_S)


def wait_until_running(settings: Settings, job: subprocess.Popen[bytes]) -> dict[str, Any]:
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline:
        check_job(settings, job)
        if status := job_status(settings):
            return status
        time.sleep(POLL_S)
    raise FlinkError(
        "the job did not start",
        expected=f"a running job within {START_WITHIN_S} s",
        fix=f"see {settings.run_dir / 'job.log'}",
    )


def check_job(settings: Settings, job: subprocess.Popen[bytes]) -> None:
    """Raise if the job's process has ended."""
    if job.poll() is not None:
        log = (settings.run_dir / "job.log").read_text(errors="replace")
        raise FlinkError("the job ended", received=log[-1000:], fix="see the message above")

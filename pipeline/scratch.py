"""A broker and a job for one command alone (demo, bench): started by it, gone with it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.local import broker
from deploy.local.ports import free_ports
from deploy.local.process import signals_put_off
from pipeline import topics
from pipeline.config import Settings, as_environment, with_values
from pipeline.layers import env_name
from pipeline.run import job_status
from pipeline.sections import KafkaSettings, RegistrySettings
from schemas.errors import FlinkError

if TYPE_CHECKING:
    from rich.console import Console

LOOPBACK = "127.0.0.1"
START_WITHIN_S = 90
STOP_WITHIN_S = 60
POLL_S = 0.1


def scratch_settings(settings: Settings, name: str, more: Mapping[str, object]) -> Settings:
    """Settings with free ports, an empty folder and engine store, and the default topics.

    Args:
        settings: limits and job settings to keep; those of ``kafka`` and ``registry`` are about
            other topics.
        name: of the folder in ``run_dir``; what was in it is deleted.
        more: further values, by dotted names.

    Raises:
        FlinkError: a job runs in that folder.
    """
    port, controller_port = free_ports(2)
    run_dir = settings.run_dir / name
    own = with_values(
        settings,
        {
            "run_dir": run_dir,
            "engine.store": run_dir / "engines",
            "local.host": LOOPBACK,
            "local.port": port,
            "local.controller_port": controller_port,
            "kafka": KafkaSettings(bootstrap_servers=f"{LOOPBACK}:{port}"),
            "registry": RegistrySettings(),
            **more,
        },
    )
    _clear(own)
    return own


def _clear(settings: Settings) -> None:
    """Delete what an earlier command left in the folder, and stop its broker if it was killed."""
    if status := job_status(settings):
        raise FlinkError(
            f"a job runs in {settings.run_dir}",
            expected="a folder that is nobody's",
            received=f"process {status['pid']}, {status['url']}",
            fix=f"stop it: kill {status['pid']}; or set run_dir to another folder",
        )
    broker.stop(settings.local, settings.run_dir)
    if settings.run_dir.exists():
        shutil.rmtree(settings.run_dir)


@contextmanager
def running_broker(settings: Settings, console: Console) -> Iterator[None]:
    """A broker with our topics, stopped at the end."""
    try:
        status = broker.start(settings.local, settings.run_dir)
        console.print(f"broker at {status.bootstrap_servers}: {status.note}")
        topics.ensure_topics(settings)
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
    # With an empty file: the settings are in the environment, all of them.
    words = ["pipeline", "run", "--json", "--config", os.devnull, *options]
    with started(words, job_environment(settings), settings.run_dir) as job:
        yield job


@contextmanager
def started(
    words: Sequence[str], environ: Mapping[str, str], run_dir: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """``python -m WORDS``, not waited for; says all in ``job.log``; stopped if it still runs."""
    with ExitStack() as stack, (run_dir / "job.log").open("wb") as output:
        command = [sys.executable, "-m", *words]
        with signals_put_off():
            job = subprocess.Popen(command, env=environ, stdout=output, stderr=subprocess.STDOUT)
            stack.callback(end, job)
        yield job


def job_environment(settings: Settings) -> dict[str, str]:
    """Ours with the settings; of the secrets, which a scratch broker does not ask for, none."""
    none = {env_name(name): "" for name in ("kafka.sasl_password", "registry.password")}
    return os.environ | as_environment(settings) | none


def end(job: subprocess.Popen[bytes], patience_s: float = STOP_WITHIN_S) -> None:
    """Ask the process to end, then kill it; does nothing if it has ended."""
    job.send_signal(signal.SIGTERM)
    try:
        with suppress(subprocess.TimeoutExpired):
            job.wait(patience_s)
    finally:
        job.kill()
        job.wait()


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
        received="one that is still starting",
        fix=f"see {settings.run_dir / 'job.log'}",
    )


def check_job(settings: Settings, job: subprocess.Popen[bytes]) -> None:
    """Raise if the job's process has ended."""
    if job.poll() is not None:
        log = (settings.run_dir / "job.log").read_text(errors="replace")
        raise FlinkError(
            "the job ended",
            expected="a job that runs until it is stopped",
            received=log[-1000:].strip() or "nothing was said",
            fix=f"see the message above, and the logs in {settings.run_dir}",
        )

"""A broker and a job of a command's own: settings of nobody else's, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deploy.local import broker
from deploy.local.process import ProcessRecord
from pipeline import scratch, topics
from pipeline.config import Settings, load_settings
from pipeline.scratch import check_job, end, job_environment, running_broker, scratch_settings
from pipeline.sections import KafkaSettings
from schemas.errors import FlinkError


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings for a secured cluster elsewhere."""
    flags = {
        "run_dir": tmp_path,
        "job.parallelism": 2,
        "local.host": "0.0.0.0",
        "kafka.bootstrap_servers": "elsewhere:9092",
        "kafka.replication_factor": 3,
        "kafka.events_topic": "theirs",
        "kafka.security_protocol": "SASL_SSL",
        "kafka.sasl_mechanism": "PLAIN",
        "kafka.sasl_username": "ranker",
        "kafka.sasl_password": "${env:PASSWORD}",
    }
    return load_settings(flags=flags, environ={"PASSWORD": "hunter2"})


def test_nothing_of_the_users_own_broker_is_kept(settings: Settings) -> None:
    own = scratch_settings(settings, "demo", {"kafka.audit_topic": "audit"})
    address = f"127.0.0.1:{own.local.port}"
    assert own.kafka == KafkaSettings(bootstrap_servers=address, audit_topic="audit")
    assert own.local.host == "127.0.0.1"
    assert (own.job, own.run_dir) == (settings.job, settings.run_dir / "demo")


def test_the_job_reads_these_settings_whatever_else_there_is(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = scratch_settings(settings, "demo", {})
    monkeypatch.chdir(tmp_path)
    Path("headrace.toml").write_text("[kafka]\nsasl_username = 'ranker'\nnonsense = 1\n")
    monkeypatch.setenv("HEADRACE_KAFKA__SASL_PASSWORD", "${env:PASSWORD}")
    monkeypatch.setenv("HEADRACE_KAFKA__REPLICATION_FACTOR", "3")
    assert load_settings(Path(os.devnull), environ=job_environment(own)) == own


def test_what_an_earlier_command_left_is_gone(settings: Settings) -> None:
    left = settings.run_dir / "demo" / "broker" / "broker.pid"
    left.parent.mkdir(parents=True)
    with sleeping() as child:
        ProcessRecord.of(child.pid).write(left)
        own = scratch_settings(settings, "demo", {})
        assert child.wait(10) < 0
    assert not own.run_dir.exists()


def test_a_folder_in_which_a_job_runs_is_left_alone(settings: Settings) -> None:
    status = settings.run_dir / "demo" / "job.json"
    status.parent.mkdir(parents=True)
    ours = ProcessRecord.of(os.getpid())
    status.write_text(json.dumps({"pid": ours.pid, "born": ours.born, "url": "http://job"}))
    with pytest.raises(FlinkError, match=f"process {ours.pid}") as error:
        scratch_settings(settings, "demo", {})
    assert error.value.fix
    assert status.exists()


@pytest.mark.parametrize("fails", ["start", "topics", "work"])
def test_however_it_ends_the_broker_is_stopped(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    stopped: list[Path] = []

    def step(name: str) -> broker.BrokerStatus:
        if name == fails:
            raise KeyboardInterrupt
        return broker.BrokerStatus(True, 1, "", "", "started")

    monkeypatch.setattr(broker, "start", lambda *_: step("start"))
    monkeypatch.setattr(broker, "stop", lambda _, run_dir: stopped.append(run_dir))
    monkeypatch.setattr(topics, "ensure_topics", lambda _: step("topics"))
    with (
        pytest.raises(KeyboardInterrupt),
        running_broker(settings, Console(file=StringIO())),
    ):
        step("work")
    assert stopped == [settings.run_dir]


def sleeping(program: str = "pass") -> subprocess.Popen[bytes]:
    """A process that says so when it is ready, and sleeps."""
    program += "; print(flush=True); import time; time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    return child


def test_a_job_is_asked_to_end_and_then_killed() -> None:
    with sleeping() as meek:
        end(meek)
    with sleeping("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)") as stubborn:
        end(stubborn, patience_s=0.1)
    assert (meek.returncode, stubborn.returncode) == (-15, -9)


def test_a_signal_while_the_job_is_started_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes when there is a process already, and nobody who would stop it yet."""
    jobs = []

    def interrupted(*_: Any, **__: Any) -> subprocess.Popen[bytes]:
        jobs.append(job)
        signal.raise_signal(signal.SIGINT)
        return job

    with sleeping() as job:
        monkeypatch.setattr(subprocess, "Popen", interrupted)
        with pytest.raises(KeyboardInterrupt), scratch.started(["job"], {}, tmp_path):
            jobs.append(job)  # the signal is not put off for longer
        assert jobs == [job]
        assert job.poll() == -signal.SIGTERM


def test_a_job_that_ended_tells_its_last_words(settings: Settings) -> None:
    (settings.run_dir / "job.log").write_text("out of luck\n")
    with subprocess.Popen([sys.executable, "-c", ""]) as job:
        job.wait()
    with pytest.raises(FlinkError) as error:
        check_job(settings, job)
    assert error.value.received == "out of luck"
    assert str(settings.run_dir) in error.value.fix


def test_a_job_that_does_not_start_in_time_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "START_WITHIN_S", 0)
    with sleeping() as job:
        with pytest.raises(FlinkError, match="did not start") as error:
            scratch.wait_until_running(settings, job)
        end(job)
    assert "job.log" in error.value.fix

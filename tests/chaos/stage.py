"""Where the faults are played: a broker and a cluster of their own, and the ways to hurt them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local import broker, cluster
from deploy.local.cluster_config import ClusterFolder
from deploy.local.cluster_process import ClusterProcess, orphans
from deploy.local.cluster_rest import NO_ANSWER
from deploy.local.process import ProcessRecord
from pipeline import warm_up
from pipeline.config import Settings
from pipeline.rest import ENDED, FlinkRest
from pipeline.scratch import job_environment
from tests.waiting import PATIENCE_S, until

TASKMANAGERS = 2


@dataclass(frozen=True)
class Told:
    """What a `headrace` command ended with."""

    exit_code: int
    result: dict[str, Any]
    stderr: str


def headrace(settings: Settings, *words: str) -> Told:
    """Run a command with these settings, as a user does."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *words, "--json", "--config", os.devnull],
        env=job_environment(settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S + 120,
    )
    assert done.stdout, (done.returncode, done.stderr)
    return Told(done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr)


@dataclass(frozen=True)
class Ranking:
    """How a job ended, how many records its ranking tasks read, and on how many TaskManagers."""

    state: str
    records: int
    taskmanagers: int

    @classmethod
    def of(cls, name: str, rest: FlinkRest) -> Ranking:
        [job_id] = [job["jid"] for job in rest.jobs() if job["name"] == name]
        job = rest.get(f"/jobs/{job_id}")
        [ranking] = [vertex for vertex in job["vertices"] if "PythonCalc" in vertex["name"]]
        tasks = rest.get(f"/jobs/{job_id}/vertices/{ranking['id']}")["subtasks"]
        where = {task["taskmanager-id"] for task in tasks}
        return cls(job["state"], ranking["metrics"]["read-records"], len(where))


class Stage:
    """A broker and a cluster of two TaskManagers with a slot each; a context.

    Args:
        settings: ports, ``run_dir``, and an engine store with an active engine.

    Attributes:
        started: what `headrace cluster up` told, which warmed the TaskManagers up.
        warm_up: what came of that, which the JobManager forgets.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._folder = ClusterFolder(settings.run_dir)

    def __enter__(self) -> Stage:
        try:
            up = headrace(self.settings, "cluster", "up", "--taskmanagers", str(TASKMANAGERS))
            assert up.exit_code == 0, up
            assert up.result["warm_up_s"], up
            self.started = up.result
            self.warm_up = Ranking.of(warm_up.NAME, self.rest)
            self.mend()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        cluster.stop(self.settings.cluster, self.settings.run_dir)
        broker.stop(self.settings.local, self.settings.run_dir)

    @property
    def rest(self) -> FlinkRest:
        """Of the JobManager that answers, which may be about to take over."""
        until(lambda: self.status().running, "JobManager")
        return FlinkRest(cluster.status(self.settings.cluster, self.settings.run_dir).url)

    def start_broker(self) -> None:
        broker.start(self.settings.local, self.settings.run_dir)

    def kill_broker(self) -> None:
        process = ProcessRecord.read(self.settings.run_dir / "broker" / "broker.pid")
        assert process is not None
        kill(process)

    def broker_outage(self, seconds: float) -> None:
        """The broker is killed, and comes back with its data."""
        self.kill_broker()
        time.sleep(seconds)  # the outage itself, not a wait for something
        self.start_broker()

    def mend(self) -> None:
        """Start what is gone, cold: a warm-up for each play takes longer than it spares."""
        self.start_broker()
        self.replace()
        until(lambda: self.status().slots == TASKMANAGERS, "slots of all TaskManagers")

    def replace(self) -> int:
        """Start what is gone of the cluster; how many processes that was."""
        told = cluster.start(self.settings.cluster, self.settings.run_dir, TASKMANAGERS)
        return told.note.count(" was gone")

    def cancel_jobs(self) -> None:
        """End what runs, and wait until all slots are free."""
        rest = self.rest
        for job in rest.jobs():
            if job["state"] not in ENDED:
                rest.cancel(job["jid"])
        until(lambda: all(job["state"] in ENDED for job in rest.jobs()), "end of the job")
        until(lambda: self.status().free_slots == self.status().slots, "free slots")

    def status(self) -> cluster.ClusterStatus:
        return cluster.status(self.settings.cluster, self.settings.run_dir)

    def busy(self) -> str:
        """The TaskManager that has the job's tasks, which must be one."""
        members = [one for one in self.status().taskmanagers if one["slots"]]
        [name] = [one["name"] for one in members if not one["free_slots"]]
        return str(name)

    def process(self, name: str) -> ClusterProcess:
        process = ClusterProcess.read(self._folder.pid(name))
        assert process is not None
        return process

    def kill(self, name: str) -> None:
        """As ``kill -9`` does; returns when it is gone."""
        kill(self.process(name))

    @contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """As ``kill -STOP`` does, and ``kill -CONT`` afterwards."""
        pid = self.process(name).pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def left_of(self, name: str) -> list[str]:
        """Command lines of the processes that one of the cluster started, itself among them."""
        return [command_line(one) for one in orphans(name, self._folder)]

    def workers(self, name: str) -> list[ProcessRecord]:
        """The Python workers of a TaskManager."""
        found = orphans(name, self._folder)
        return [one for one in found if "pyflink.fn_execution" in command_line(one)]

    def registered(self, name: str) -> bool:
        """Whether the JobManager counts on a TaskManager."""
        members = {one["name"]: one for one in self.status().taskmanagers}
        return bool(members[name]["registered"])

    def leader(self) -> str:
        """The JobManager that leads, with high availability."""
        granted = "DefaultDispatcherRunner was granted leadership"
        logs = self._folder.logs.glob("flink-jobmanager-*.log")
        [log] = [log for log in logs if granted in log.read_text()]
        return "-".join(log.name.split("-")[1:3])

    def checkpoints(self, job_id: str) -> dict[str, int]:
        """How many checkpoints are ``completed``, ``failed``, ``restored``; 0 if nobody answers."""
        try:
            url = self.status().url
            counts: dict[str, int] = FlinkRest(url).get(f"/jobs/{job_id}/checkpoints")["counts"]
        except NO_ANSWER:
            return dict.fromkeys(("completed", "failed", "restored"), 0)
        return counts


def kill(process: ProcessRecord) -> None:
    """As ``kill -9`` does; returns when it is gone."""
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: not process.alive, "end of a killed process")


def command_line(process: ProcessRecord) -> str:
    try:
        words = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
    except OSError:  # gone
        return ""
    return b" ".join(words).decode(errors="replace")[:300]

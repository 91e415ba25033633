"""The faults that take longer: `make chaos`."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.checkpoints import newest_first
from tests.chaos.conftest import PORTS, Acted, stage_settings
from tests.chaos.play import Play
from tests.chaos.stage import Stage, kill
from tests.chaos.test_faults import each_list_is_there_once, resume_from_an_older_one, truncate
from tests.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.chaos, pytest.mark.timeout(900)]
DELIVERIES = ("at-least-once", "exactly-once")
OUTAGE_S = 70.0


def test_killed_python_worker(stage: Stage, acted: Acted) -> None:
    with acted(stage, "kill -9 of the Python worker") as play:
        play.reach()
        for worker in stage.workers(stage.busy()):
            os.kill(worker.pid, signal.SIGKILL)


def test_killed_broker(stage: Stage, acted: Acted) -> None:
    with acted(stage, "kill -9 of the broker, and back") as play:
        play.reach()
        stage.broker_outage(0)


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_broker_outage(stage: Stage, acted: Acted, delivery: str) -> None:
    fault = f"broker away for {OUTAGE_S:.0f} s, {delivery}"
    with acted(stage, fault, **{"job.delivery": delivery}) as play:
        play.reach()
        stage.broker_outage(OUTAGE_S)
    if delivery == "exactly-once":
        each_list_is_there_once(play)


def test_paused_taskmanager(stage: Stage, acted: Acted) -> None:
    with acted(stage, "SIGSTOP of a TaskManager beyond its heartbeat, and SIGCONT") as play:
        play.reach()
        busy = stage.busy()
        with stage.paused(busy):
            until(lambda: not stage.registered(busy), "notice of the stopped TaskManager")
            play.until_fresh()
        # Flink may take the late clean-up of its Python part for fatal and end the process.
        until(
            lambda: stage.registered(busy) or not stage.process(busy).alive,
            "return or end of the stopped TaskManager",
        )
        until(lambda: not stage.workers(busy), "end of its Python workers")


def test_rescaled_up_and_down(stage: Stage, acted: Acted) -> None:
    with acted(stage, "rescale 1 -> 2 -> 1 by savepoints") as play:
        play.reach()
        for parallelism in (2, 1):
            savepoint = play.stop("--savepoint")["savepoint"]
            play.submit("--from-savepoint", savepoint, parallelism=parallelism)


def test_checkpoints_cannot_be_written(stage: Stage, acted: Acted) -> None:
    with acted(stage, "checkpoint folder unwritable for a while") as play:
        play.reach()
        with without_checkpoints(play):
            failed = stage.checkpoints(play.job_id)["failed"]
            until(lambda: stage.checkpoints(play.job_id)["failed"] >= failed + 3, "failures")
            play.until_fresh()
        completed = stage.checkpoints(play.job_id)["completed"]
        until(lambda: stage.checkpoints(play.job_id)["completed"] > completed, "checkpoint")
        assert stage.checkpoints(play.job_id)["restored"] == 0


def test_worker_killed_while_checkpoints_are_away(stage: Stage, acted: Acted) -> None:
    with acted(stage, "Python worker killed while the checkpoint folder is away") as play:
        play.reach()
        with without_checkpoints(play):
            failures = len(stage.rest.failures(play.job_id))
            for worker in stage.workers(stage.busy()):
                os.kill(worker.pid, signal.SIGKILL)
            until(lambda: len(stage.rest.failures(play.job_id)) >= failures + 2, "failed restore")


@contextmanager
def without_checkpoints(play: Play) -> Iterator[None]:
    """A file lies where the job's checkpoints are: that stops root, too."""
    folder = newest_first(play.settings)[0].parent
    away = folder.rename(folder.with_suffix(".away"))
    folder.touch()
    try:
        yield
    finally:
        folder.unlink()
        away.rename(folder)


def test_a_checkpoint_with_a_truncated_state_file(stage: Stage, acted: Acted) -> None:
    with acted(stage, "state file of the newest checkpoint truncated") as play:
        play.reach(checkpoints=3)
        play.stop()
        newest = newest_first(play.settings)[0]
        truncate(max(newest.iterdir(), key=size_bytes))
        resume_from_an_older_one(play)


def size_bytes(file: Path) -> int:
    return 0 if file.name == "_metadata" else file.stat().st_size


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_lost_jobmanager(stage: Stage, acted: Acted, delivery: str) -> None:
    fault = f"JobManager lost, resume from the newest checkpoint, {delivery}"
    with acted(stage, fault, **{"job.delivery": delivery}) as play:
        play.reach(checkpoints=2)
        stage.kill("jobmanager-1")
        stage.mend()
        play.submit("--from-checkpoint", "latest")
    if delivery == "exactly-once":
        each_list_is_there_once(play)


def test_killed_jobmanager_with_a_standby(
    acted: Acted, tmp_path: Path, free_ports: Callable[[int], list[int]]
) -> None:
    ports = free_ports(len(PORTS))
    settings = stage_settings(tmp_path, ports, **{"cluster.high_availability": True})
    with (
        Stage(settings) as stage,
        acted(stage, "JobManager killed, with high availability") as play,
    ):
        play.reach()
        kill(stage.process(stage.leader()))

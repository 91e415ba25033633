"""`headrace run` over a small hostile log, with either guarantee of delivery."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engines.registry import Registry
from pipeline import kafka
from pipeline.config import Settings, as_environment, with_values
from pipeline.scratch import job_environment, started, wait_until_running
from pipeline.sources.synthetic import Shop
from pipeline.topics import ensure_topics
from tests.chaos.stage import headrace
from tests.engines.examples import events, fit
from tests.integration import doomed, scenario
from tests.integration.conftest import PATIENCE_S, START_MS, read_lists, send
from tests.integration.reference import Place, Record, Reference, State, decoded, source_of

pytestmark = pytest.mark.real

EVENTS = 3000
DELIVERIES = ("at-least-once", "exactly-once")


@dataclass
class Ran:
    """A run and what came of it.

    Attributes:
        told: the JSON object that `headrace run` ended with.
        restarts: how many there were; the job told it while it ran, for whoever ends it from
            outside may do so before `headrace run` has asked again.
        sent: the input records.
        lists: those that a read_committed consumer sees, by partition and in order.
        end_offset: sum of the end offsets of the recommendations topic.
    """

    settings: Settings
    told: dict[str, Any]
    restarts: int
    sent: list[Record]
    lists: list[dict[str, Any]]
    end_offset: int


Runs = dict[tuple[Callable[[Settings], Ran], str], "Future[Ran]"]


@pytest.fixture(scope="module")
def runs(broker_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Every run of this file, two at a time: one alone does not keep two cores busy."""
    settings = {
        (play, delivery): job_settings(broker_settings, tmp_path_factory.mktemp("run"), delivery)
        for play in (to_the_end, with_losses)
        for delivery in DELIVERIES
    }
    with ThreadPoolExecutor(2) as pool:
        yield {run: pool.submit(run[0], own) for run, own in settings.items()}


def job_settings(broker_settings: Settings, folder: Path, delivery: str) -> Settings:
    """Settings with topics of a run's own, a guarantee, and an active engine."""
    topics = ("events", "control", "recommendations", "dead_letters")
    settings = with_values(
        broker_settings,
        {f"kafka.{topic}_topic": f"{folder.name}.{topic}" for topic in topics}
        | {"run_dir": folder, "engine.store": folder / "store"}
        | {"job.emit": "every", "job.delivery": delivery, "job.checkpoint_interval_ms": 500},
    )
    ensure_topics(settings)
    registry = Registry(settings.engine.store)
    registry.add(fit(events("abcd", "abd")).draft(batch=64, k=3), "tiny")
    registry.activate("tiny")
    return settings


def log() -> list[scenario.Sent]:
    return list(scenario.hostile_log(Shop(seed=4, users=80), START_MS, EVENTS))


def to_the_end(settings: Settings) -> Ran:
    """A bounded run."""
    sent = send(settings, settings.kafka.events_topic, log())
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "run", "--bounded", "--json"],
        env=os.environ | as_environment(settings),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    return ran(settings, told, told["restarts"], sent)


def with_losses(settings: Settings) -> Ran:
    """A run whose Python worker is killed, then its TaskManager, ended by `headrace stop`."""
    topic, records = settings.kafka.events_topic, log()
    third = len(records) // 3
    words = [doomed.__name__, "run", "--json", "--config", os.devnull]
    with started(words, job_environment(settings), settings.run_dir) as job:
        wait_until_running(settings, job)
        seen = Seen(settings)
        sent = send(settings, topic, records[:third])
        seen.wait_for(expected_states(settings, sent).keys())
        kill_workers(settings)
        sent = sorted(sent + send(settings, topic, records[third : 2 * third]))
        seen.wait_for(expected_states(settings, sent).keys())
        job.send_signal(signal.SIGUSR1)
        sent = sorted(sent + send(settings, topic, records[2 * third :]))
        seen.wait_for(expected_states(settings, sent).keys())
        restarts = headrace(settings, "status").result["job"]["restarts"]
        stopped = headrace(settings, "stop")
        assert job.wait(PATIENCE_S) == 0
    *notes, last = (settings.run_dir / "job.log").read_text().splitlines()
    told = json.loads(last)
    assert sum(note.startswith("the TaskManager ended itself") for note in notes) >= 1, notes
    assert (stopped.exit_code, stopped.result["state"]) == (0, "CANCELED")
    assert (told["state"], told["job_id"]) == ("CANCELED", stopped.result["job_id"])
    return ran(settings, told, restarts, sent)


def ran(settings: Settings, told: dict[str, Any], restarts: int, sent: list[Record]) -> Ran:
    topic = settings.kafka.recommendations_topic
    lists = [decoded(value) for _, value, _ in read_lists(settings) if value is not None]
    return Ran(settings, told, restarts, sent, lists, kafka.end_offset(settings.kafka, topic))


def expected_states(settings: Settings, sent: list[Record]) -> dict[Place, State]:
    reference = Reference(settings)
    reference.take(sent)
    return reference.states


def states_in(lists: list[dict[str, Any]]) -> dict[Place, State]:
    return {source_of(one): State(*(one[name] for name in State._fields)) for one in lists}


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_every_applied_event_but_an_impression_has_one_list(runs: Runs, delivery: str) -> None:
    ran = runs[to_the_end, delivery].result()
    assert (ran.told["state"], ran.restarts) == ("FINISHED", 0)
    states = states_in(ran.lists)
    assert EVENTS / 2 < len(states) < EVENTS
    assert states == expected_states(ran.settings, ran.sent)
    assert len(ran.lists) == len(states)  # none twice
    assert {one["job_epoch"] for one in ran.lists} == {ran.told["job_epoch"]}
    assert {(one["engine"], one["cause"]) for one in ran.lists} == {("tiny@1", "event")}

    # Lists of one user come in the order of that user's versions.
    newest: dict[str, int] = {}
    for one in ran.lists:
        assert one["version"] > newest.get(one["user_id"], 0)
        newest[one["user_id"]] = one["version"]

    # Commit markers take offsets of their own: lists went through transactions, or did not.
    markers = ran.end_offset - len(ran.lists)
    assert markers > 0 if ran.settings.job.delivery == "exactly-once" else markers == 0


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_a_lost_worker_or_taskmanager_loses_nothing_and_stop_ends_the_job(
    runs: Runs, delivery: str
) -> None:
    """After it the job starts again from a checkpoint; exactly-once then also doubles nothing."""
    ran = runs[with_losses, delivery].result()
    assert ran.restarts >= 2
    expected = expected_states(ran.settings, ran.sent)
    assert states_in(ran.lists) == expected
    if delivery == "exactly-once":
        assert len(ran.lists) == len(expected)


class Seen:
    """Places of the lists that a read_committed consumer has seen."""

    def __init__(self, settings: Settings) -> None:
        self._places: set[Place] = set()
        self._consumer = kafka.reader(settings, [settings.kafka.recommendations_topic])

    def wait_for(self, places: AbstractSet[Place]) -> None:
        while left := len(places - self._places):
            message = self._consumer.poll(PATIENCE_S)
            assert message is not None, f"{left} of {len(places)} lists are missing"
            if message.error() is None:
                self._places.add(source_of(decoded(message.value())))


def kill_workers(settings: Settings) -> None:
    """Kill -9 the Python processes that Flink started for this job."""
    own = f"HEADRACE_RUN_DIR={settings.run_dir}".encode()
    killed = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environ = (process / "environ").read_bytes().split(b"\0")
            if own in environ and b"pyflink.fn_execution" in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
                killed += 1
        except OSError:  # ended meanwhile, or not ours
            continue
    assert killed

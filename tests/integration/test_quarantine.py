"""A record that kills the Python worker of a real job: found, set aside, and nothing else lost."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from engines.catalogue import item_hash
from engines.registry import Registry
from pipeline.config import Settings, with_values
from pipeline.quarantine import quarantine, release, suspects_folder
from pipeline.rest import FlinkRest
from pipeline.run import job_status
from pipeline.scratch import running_job
from pipeline.sources.synthetic import Shop
from pipeline.topics import ensure_topics
from schemas import codec
from schemas.errors import FlinkError
from schemas.reasons import Reason
from tests.engines.examples import events, fit
from tests.integration import scenario
from tests.integration.conftest import START_MS, Outcomes, read_lists, send
from tests.integration.reference import (
    Place,
    Record,
    Reference,
    State,
    conservation_errors,
    decoded,
    source_of,
)
from tests.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

EVENTS = 3000
USERS = 80
FAILURES = 2

FAULT = f"""
import ctypes
from udfs.engine import Engine

healthy = Engine.rank

def deadly(self, requests):
    if (requests.histories(50).item_hash == {item_hash(scenario.DEADLY_ITEM)}).any():
        ctypes.string_at(0)
    return healthy(self, requests)

Engine.rank = deadly
"""
"""A segmentation fault at a profile with a certain item. Python runs a file of the name
sitecustomize at its start; Flink hands PYTHONPATH on to its workers."""


@dataclass
class Survived:
    """A run over a hostile log with one event that the worker cannot survive.

    Attributes:
        killer: the place of that event.
        state, failures: of the job when every offset had its outcome, as Flink tells them.
    """

    settings: Settings
    reference: Reference
    killer: Place
    outcomes: Outcomes
    lists: list[dict[str, Any]]
    state: str
    failures: list[str]


@pytest.fixture(scope="module")
def survived(broker_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Survived:
    settings = job_settings(broker_settings, tmp_path_factory.mktemp("quarantine"))
    log = list(scenario.hostile_log(Shop(seed=5, users=USERS), START_MS, EVENTS))
    middle = len(log) // 2
    with pytest.MonkeyPatch.context() as patch:
        (settings.run_dir / "sitecustomize.py").write_text(FAULT)
        patch.setenv("PYTHONPATH", str(settings.run_dir), prepend=os.pathsep)
        with running_job(settings, Console(quiet=True)):
            outcomes = Outcomes(settings)
            sent = send(settings, settings.kafka.events_topic, log[:middle])
            outcomes.wait_for(len(sent))
            log.insert(middle + 20, scenario.deadly(START_MS + middle * scenario.INTERVAL_MS))
            sent += send(settings, settings.kafka.events_topic, log[middle:])
            outcomes.wait_for(len(sent))
            status = until(lambda: job_status(settings), "status of the job")
            rest = FlinkRest(status["url"])
            # The last outcome may come while the job still starts.
            state = until(partial(started, rest, status["job_id"]), "started job")
            job = state, rest.failures(status["job_id"])
    killer = next(one.place for one in sent if one.value == log[middle + 20].value)
    values = [value for _, value, _ in read_lists(settings) if value is not None]
    lists = [decoded(one) for one in values]
    return Survived(settings, reference(settings, sent, killer), killer, outcomes, lists, *job)


def started(rest: FlinkRest, job_id: str) -> str:
    """The job's state; empty while it starts."""
    state = rest.state(job_id)
    return "" if state == "STARTING" else state


def job_settings(broker_settings: Settings, folder: Path) -> Settings:
    """Topics of its own, an engine, and delivery that shows nothing of what a restart undoes."""
    topics = ("events", "control", "recommendations", "dead_letters", "audit")
    settings = with_values(
        broker_settings,
        {f"kafka.{topic}_topic": f"quarantine.{topic}" for topic in topics}
        | {"run_dir": folder, "engine.store": folder / "store"}
        | {"job.emit": "every", "job.delivery": "exactly-once", "job.checkpoint_interval_ms": 500}
        | {"job.quarantine_after": FAILURES},
    )
    ensure_topics(settings)
    registry = Registry(settings.engine.store)
    registry.add(fit(events("abcd", "abd")).draft(batch=64, k=3), "tiny")
    registry.activate("tiny")
    return settings


def reference(settings: Settings, sent: list[Record], killer: Place) -> Reference:
    """As if the killer had never been applied."""
    expected = Reference(settings)
    expected.quarantine(killer)
    expected.take(sent)
    return expected


def test_the_job_runs_after_as_many_failures_as_the_setting_says(survived: Survived) -> None:
    assert survived.state == "RUNNING"
    assert len(survived.failures) == FAILURES


def test_every_offset_has_one_outcome(survived: Survived) -> None:
    assert conservation_errors(survived.reference.outcomes, survived.outcomes.written) == []


def test_the_killer_alone_is_quarantined(survived: Survived) -> None:
    reasons = {
        place: Reason(headers["dlq.reason"])
        for place, (_, _, headers) in survived.outcomes.dead.items()
    }
    assert reasons == survived.reference.reasons
    key, value, headers = survived.outcomes.dead[survived.killer]
    assert value is not None
    assert codec.decode("user_event", value)["user_id"].encode() == key
    assert headers["dlq.message"] == f"the job failed at it {FAILURES} times in a row"


def test_every_other_event_has_its_list(survived: Survived) -> None:
    made = {source_of(one): State(*(one[name] for name in State._fields)) for one in survived.lists}
    assert made == survived.reference.states
    assert len(made) == len(survived.lists)


def test_the_command_names_it_and_lets_it_go(survived: Survived) -> None:
    stage, partition, offset = survived.killer
    name = f"{stage}:{partition}:{offset}"
    [found] = quarantine(survived.settings)["quarantined"]
    assert (found["record"], found["where"], found["failures"]) == (name, "rank", FAILURES)
    with pytest.raises(FlinkError, match="not quarantined"):
        release(survived.settings, f"{stage}:{partition}:{offset + 1}")
    assert release(survived.settings, name) == {"released": name}
    assert quarantine(survived.settings)["quarantined"] == []
    assert not list((suspects_folder(survived.settings) / "strikes").iterdir())

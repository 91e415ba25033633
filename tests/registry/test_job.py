"""A real job whose registry is down at its start and again in its middle."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from deploy.local.registry import LocalRegistry
from engines.registry import Registry
from pipeline import schemas, scratch
from pipeline.config import Settings, as_environment, load_settings, with_values
from pipeline.framing import decoder, encoder
from pipeline.layers import env_name
from pipeline.run import job_status
from pipeline.sources.base import UserEvent
from pipeline.topics import ensure_topics
from schemas import codec
from schemas.errors import CodecError
from schemas.reasons import Reason
from tests.engines.examples import events, fit
from tests.integration.conftest import Outcomes, read_lists, send
from tests.integration.reference import Place
from tests.integration.scenario import Sent
from tests.registry.producer import OURS, evolved, registered, with_field, written
from tests.registry.proxy import Proxy, proxy_before
from tests.secured import canary
from tests.waiting import until

pytestmark = pytest.mark.real

SECRET = "s3cret-canary-of-the-registry"
START_MS = 1_780_000_000_000
USERS = 5
FAILED_REQUESTS = 3
"""After so many a task fails."""


@dataclass
class Ran:
    """What was sent and what came of it.

    Attributes:
        good: events that must be applied, by user.
        bad: reasons that dead letters must have.
    """

    settings: Settings
    proxy: Proxy
    outcomes: Outcomes
    good: Counter[str] = field(default_factory=Counter)
    bad: list[Reason] = field(default_factory=list)
    sent: int = 0
    pages: dict[str, bytes] = field(default_factory=dict)
    restarts: int = 0

    def send(self, values: list[tuple[str, bytes]]) -> None:
        records = [Sent(user.encode(), value) for user, value in values]
        self.sent += len(send(self.settings, self.settings.kafka.events_topic, records))

    def go_down(self) -> None:
        self.proxy.fault = lambda path: "503"

    def come_back(self) -> None:
        self.proxy.fault = lambda path: ""


def event(number: int) -> UserEvent:
    user, item = f"user-{number % USERS}", "abcd"[number * 7 % 4]
    return UserEvent(f"e-{number}", user, item, "click", START_MS + number * 1000)


def values_of(settings: Settings, numbers: range, schema: dict[str, object]) -> Iterator[bytes]:
    """In turn: our schema in either framing, and somebody else's."""
    framings = ("single-object", "confluent")
    ours = [
        encoder(with_values(settings, {"registry.framing": framing}), "user_event").encode
        for framing in framings
    ]
    theirs = registered(settings, schema)
    for number in numbers:
        record = event(number).as_record()
        if number % 3 < 2:
            yield ours[number % 3](record)
        else:
            yield written(theirs, schema, {**record, "device": "phone", "x": 7})


def good(ran: Ran, numbers: range, schema: dict[str, object]) -> list[tuple[str, bytes]]:
    users = [event(number).user_id for number in numbers]
    ran.good.update(users)
    return list(zip(users, values_of(ran.settings, numbers, schema), strict=True))


def bad(ran: Ran) -> list[tuple[str, bytes]]:
    order = {**OURS, "name": "Order"}
    elsewhere = with_values(ran.settings, {"kafka.events_topic": "orders"})
    ids = {900_000: Reason.UNKNOWN_SCHEMA, registered(elsewhere, order): Reason.INCOMPATIBLE_SCHEMA}
    ran.bad += ids.values()
    return [("user-0", written(one, OURS, event(0).as_record())) for one in ids]


@pytest.fixture(scope="module")
def proxy(apicurio: LocalRegistry) -> Iterator[Proxy]:
    with proxy_before(apicurio.url) as proxy:
        proxy.login = f"job:{SECRET}"
        yield proxy


@pytest.fixture(scope="module")
def settings(
    broker_settings: Settings, proxy: Proxy, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    folder = tmp_path_factory.mktemp("registry-job")
    secret = tmp_path_factory.mktemp("secret") / "password"
    secret.write_text(SECRET)
    topics = ("events", "control", "recommendations", "dead_letters", "audit")
    flags = {
        **{f"kafka.{topic}_topic": f"registry.{topic}" for topic in topics},
        "kafka.bootstrap_servers": broker_settings.kafka.bootstrap_servers,
        "run_dir": folder,
        "engine.store": folder / "store",
        "job.checkpoint_interval_ms": 500,
        "job.emit": "every",
        "registry.url": proxy.url,
        "registry.username": "job",
        "registry.password": f"${{file:{secret}}}",
        "registry.framing": "confluent",
    }
    settings = load_settings(flags=flags, environ={})
    ensure_topics(settings)
    store = Registry(settings.engine.store)
    store.add(fit(events("abcd", "abd")).draft(batch=64, k=3), "tiny")
    store.activate("tiny")
    schemas.register(settings)
    return settings


@contextmanager
def started(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    secret = settings.registry.password
    assert secret is not None
    reference = {env_name("registry.password"): f"${{file:{secret.name}}}"}  # type: ignore[attr-defined]
    environ = os.environ | as_environment(settings) | reference
    with scratch.started(["pipeline", "run", "--json"], environ, settings.run_dir) as job:
        yield job


@pytest.fixture(scope="module")
def ran(settings: Settings, proxy: Proxy) -> Ran:
    ran = Ran(settings, proxy, Outcomes(settings))
    ran.send(good(ran, range(60), evolved()) + bad(ran))
    asked = f"/subjects/{settings.kafka.events_topic}-value/versions?deleted=true"
    proxy.fault = lambda path: "503" if path == asked else ""
    proxy.seen.clear()
    with started(settings):
        while proxy.seen.count(asked) < FAILED_REQUESTS:
            proxy.wait_for(1)
        ran.come_back()
        ran.outcomes.wait_for(ran.sent)
        later = good(ran, range(60, 90), with_field("int", 0))
        ran.go_down()
        ran.send(later)
        proxy.wait_for(FAILED_REQUESTS)
        ran.come_back()
        ran.outcomes.wait_for(ran.sent)
        # The job may have done all before `headrace run` has seen that it runs.
        status = until(lambda: job_status(settings), "status of the job")
        ran.pages = dict(canary.rest_answers(status["url"], status["job_id"]))
    told = json.loads((settings.run_dir / "job.log").read_text().splitlines()[-1])
    ran.restarts = told["restarts"]
    return ran


def test_the_task_fails_and_backs_off(ran: Ran) -> None:
    assert ran.restarts >= 2


def test_everything_is_processed_once_it_is_back(ran: Ran) -> None:
    outcomes: dict[Place, set[str]] = {}
    for place, outcome in ran.outcomes.written:
        outcomes.setdefault(place, set()).add(outcome)
    assert len(outcomes) == ran.sent
    assert Counter(str(*one) for one in outcomes.values()) == {
        "applied": ran.good.total(),
        "dead_lettered": len(ran.bad),
    }


def test_nothing_but_bad_records_is_a_dead_letter(ran: Ran) -> None:
    reasons = [headers["dlq.reason"] for _, _, headers in ran.outcomes.dead.values()]
    assert sorted(reasons) == sorted(ran.bad)


def test_lists_name_our_schema_by_its_id(ran: Ran) -> None:
    lists = decoder(ran.settings, "recommendation_list")
    newest: Counter[str] = Counter()
    for _, value, _ in read_lists(ran.settings):
        assert value is not None
        assert value[0] == 0
        one = lists.decode(value)
        newest[one["user_id"]] = max(newest[one["user_id"]], one["version"])
        with pytest.raises(CodecError):  # the control: without the registry nobody can
            codec.decode("recommendation_list", value)
    assert newest == ran.good


def test_the_password_is_nowhere(ran: Ran) -> None:
    assert not [page for page, answer in ran.pages.items() if canary.holds(answer, SECRET)]
    found, looked_at = canary.in_files(SECRET, ran.settings.run_dir)
    assert found == []
    assert looked_at > 5
    config = ran.pages[
        next(page for page in ran.pages if page.endswith("/config") and "/jobs/" in page)
    ]
    told = json.loads(config)["execution-config"]["user-config"]
    assert told["headrace.registry.username"] == "job"
    assert told["headrace.registry.password"] == "******"  # Flink hides even the reference

"""One run of the job over the hostile log, shared by every test that looks at its results."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pytest
from confluent_kafka import Producer
from rich.console import Console

from engines.registry import Registry
from pipeline import kafka
from pipeline.config import Settings, with_values
from pipeline.scratch import running_job
from pipeline.sources.base import EVENT_TYPES
from pipeline.sources.synthetic import Shop
from pipeline.topics import ensure_topics
from tests.engines.examples import fit
from tests.integration import scenario
from tests.integration.reference import Place, Record, Reference, decoded, source_of

START_MS = 1_780_000_000_000  # a constant in the past, so that every run sends the same events
PATIENCE_S = 120.0


@dataclass
class Played:
    """The hostile log, what the job made of it, and what it should have made.

    Attributes:
        settings: of the run.
        phases: the input records, in the order in which the job must have seen them.
        written: (place, outcome) of audit rows and dead letters, as they lie in the topics.
        dead: key, value and headers of each dead letter.
        lists: (key, value, headers) of the recommendations topic, in order of each partition.
        reference: folded from ``phases``.
        job: the result of ``headrace run --json``.
    """

    settings: Settings
    phases: list[list[Record]]
    written: list[tuple[Place, str]]
    dead: dict[Place, tuple[bytes | None, bytes | None, dict[str, str]]]
    lists: list[tuple[bytes, bytes | None, dict[str, bytes]]]
    reference: Reference
    job: dict[str, object]


@pytest.fixture(scope="session")
def shop() -> Shop:
    return Shop(seed=3, users=scenario.USERS)


@pytest.fixture(scope="session")
def job_settings(broker_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("job")
    topics = ("events", "control", "recommendations", "dead_letters")
    settings = with_values(
        broker_settings,
        {f"kafka.{topic}_topic": f"laws.{topic}" for topic in topics}
        | {"kafka.audit_topic": "laws.audit", "run_dir": folder, "engine.store": folder / "store"},
    )
    ensure_topics(settings)
    return settings


@pytest.fixture(scope="session")
def engine(job_settings: Settings, shop: Shop) -> Registry:
    """A co-occurrence engine of the shop, active."""
    numbers = {name: number for number, name in enumerate(EVENT_TYPES)}
    events = shop.events(20_000, START_MS - 10**9, 1000)
    model = fit(
        [(e.user_id, e.item_id, numbers[e.event_type], e.event_time) for e in events], name="shop"
    )
    registry = Registry(job_settings.engine.store)
    registry.add(model.draft(), "shop")
    registry.activate("shop")
    return registry


@pytest.fixture(scope="session")
def played(job_settings: Settings, shop: Shop, engine: Registry) -> Played:
    settings = job_settings
    log = list(scenario.hostile_log(shop, START_MS, scenario.EVENTS, scenario.SPREAD_MS))
    middle = len(log) // 2
    as_of_ms = START_MS + scenario.EVENTS // 2 * scenario.SPREAD_MS
    users = [f"user-{at:05d}" for at in range(shop.users)]
    # The busiest user is kept, with more bought and hidden items than a profile holds.
    forgotten = users[1 : 1 + scenario.FORGOTTEN_USERS]
    forgets = [scenario.order(user, "forget", as_of_ms) for user in forgotten]
    reranks = [scenario.order(user, "rerank", as_of_ms) for user in users]
    events, control = settings.kafka.events_topic, settings.kafka.control_topic
    phases: list[list[Record]] = []
    with running_job(settings, Console(quiet=True)):
        outcomes = Outcomes(settings)
        for topic, records in (
            (events, log[:middle]),
            (control, forgets),
            (events, log[middle:]),
            (control, reranks),
        ):
            phases.append(send(settings, topic, records))
            outcomes.wait_for(sum(map(len, phases)))
        reference = Reference(settings)
        for phase in phases:
            reference.take(phase)
        orders = {place for place in reference.states if place.stage == "control"}
        wait_for_lists(settings, orders)
    job = json.loads((settings.run_dir / "job.log").read_text().splitlines()[-1])
    return Played(
        settings,
        phases,
        outcomes.written,
        outcomes.dead,
        list(read_lists(settings)),
        reference,
        job,
    )


def send(settings: Settings, topic: str, records: Iterable[scenario.Sent]) -> list[Record]:
    """Send records; returns them as Kafka keeps them, by partition and offset."""
    kept: list[Record] = []
    stage = "events" if topic == settings.kafka.events_topic else "control"

    def keep(error: object, message: kafka.Message) -> None:
        assert error is None, error
        place = Place(stage, message.partition(), message.offset())
        kept.append(Record(place, message.key(), message.value(), message.timestamp()[1]))

    # A machine that does much else may keep a record waiting for longer than users would.
    patient = {"delivery.timeout.ms": 120_000}
    producer = Producer(kafka.producer_config(settings.kafka) | patient)
    for record in records:
        while True:
            try:
                producer.produce(topic, record.value, record.key, on_delivery=keep)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    producer.flush()
    return sorted(kept)


class Outcomes:
    """Reads audit rows and dead letters while the job writes them."""

    def __init__(self, settings: Settings) -> None:
        self.written: list[tuple[Place, str]] = []
        self.dead: dict[Place, tuple[bytes | None, bytes | None, dict[str, str]]] = {}
        self._audit = settings.kafka.audit_topic
        self._places: set[Place] = set()
        self._consumer = kafka.reader(settings, [self._audit, settings.kafka.dead_letters_topic])

    def wait_for(self, count: int) -> None:
        """Return once ``count`` different offsets have an outcome."""
        while len(self._places) < count:
            message = self._consumer.poll(PATIENCE_S)
            assert message is not None, (
                f"{count - len(self._places)} of {count} offsets have no outcome"
            )
            if message.error() is None:
                self._take(message)

    def _take(self, message: kafka.Message) -> None:
        if message.topic() == self._audit:
            stage, partition, offset, outcome = message.value().decode().split(",")
        else:
            headers = {name: value.decode() for name, value in message.headers()}
            stage, partition, offset = (
                headers[f"dlq.{name}"] for name in ("stage", "partition", "offset")
            )
            outcome = "dead_lettered"
            self.dead[Place(stage, int(partition), int(offset))] = (
                message.key(),
                message.value(),
                headers,
            )
        place = Place(stage, int(partition), int(offset))
        self._places.add(place)
        self.written.append((place, outcome))


def wait_for_lists(settings: Settings, orders: set[Place]) -> None:
    """Return once each of these orders has its list, which is written after its outcome."""
    missing = set(orders)
    consumer = kafka.reader(settings, [settings.kafka.recommendations_topic])
    while missing:
        message = consumer.poll(PATIENCE_S)
        assert message is not None, f"{len(missing)} of {len(orders)} orders have no list"
        if message.error() is None and message.value() is not None:
            missing.discard(source_of(decoded(message.value())))
    consumer.close()


def read_lists(settings: Settings) -> Iterator[tuple[bytes, bytes | None, dict[str, bytes]]]:
    for message in kafka.read_to_end(settings, settings.kafka.recommendations_topic):
        yield message.key(), message.value(), dict(message.headers() or [])

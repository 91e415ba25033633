"""One fault, played: a steady stream of events before, during and after it, and a verdict."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import pairwise
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from pipeline import kafka
from pipeline.config import Settings, with_values
from pipeline.sources.synthetic import Shop
from pipeline.topics import ensure_topics
from schemas import codec
from tests.chaos.stage import Stage, Told, headrace
from tests.chaos.verdict import Evidence, List, Row, judged
from tests.integration import scenario
from tests.integration.conftest import START_MS, Outcomes, read_lists
from tests.integration.reference import Place, Record, Reference, State, source_of
from tests.waiting import until

if TYPE_CHECKING:
    from confluent_kafka import Message

RATE = 500.0
"""Events a second, if none are given: what two busy cores do with ease, backlog and all."""
FAULT_AT = 1000
"""The record at which the fault comes."""
TAIL = 500
"""Records that are sent after the first fresh list."""
ENDLESS = 10**7
USERS = 300
SILENCE_S = 60.0
"""After how long without a new list the missing ones count as lost."""
OUTAGE_MS = 300_000
"""How long the sender keeps what no broker takes."""
TOPICS = ("events", "control", "recommendations", "dead_letters", "audit")


class Sender(Thread):
    """Sends a log at a steady pace until it is told to stop.

    Attributes:
        rate: events a second.
        extra: records to be sent before the next one of the log.
        sent: records handed over so far.
        kept: records as Kafka keeps them, and when they were handed over.
        error: what went wrong.
    """

    def __init__(self, settings: Settings, log: Iterable[scenario.Sent], rate: float) -> None:
        super().__init__(daemon=True)
        self.rate = rate
        self.extra: deque[scenario.Sent] = deque()
        self.sent = 0
        self.kept: list[tuple[Record, float]] = []
        self.error: Exception | None = None
        self._settings = settings
        self._log = log
        self._ending = Event()

    def stop(self) -> None:
        """Send no more, and wait until Kafka has what was sent."""
        self._ending.set()
        self.join()
        if self.error:
            raise self.error
        assert len(self.kept) == self.sent

    def run(self) -> None:
        try:
            self._send()
        except Exception as error:
            self.error = error

    def _send(self) -> None:
        from confluent_kafka import Producer

        more = {"delivery.timeout.ms": OUTAGE_MS, "queue.buffering.max.messages": 1_000_000}
        producer = Producer(kafka.producer_config(self._settings.kafka) | more)
        topic = self._settings.kafka.events_topic
        began = time.monotonic()
        for number, record in enumerate(self._records()):
            while (wait_s := began + number / self.rate - time.monotonic()) > 0:
                # poll() takes whole milliseconds: it would spin through the last one of each wait.
                time.sleep(min(wait_s, 0.05))
                producer.poll(0)
            if self._ending.is_set():
                break
            keep = partial(self._keep, time.monotonic())
            producer.produce(topic, record.value, record.key, on_delivery=keep)
            self.sent = number + 1
        producer.flush()

    def _records(self) -> Iterator[scenario.Sent]:
        for record in self._log:
            while self.extra:
                yield self.extra.popleft()
            yield record

    def _keep(self, at_s: float, error: object, message: Message) -> None:
        if error is not None:
            self.error = AssertionError(str(error))
            return
        place = Place("events", message.partition(), message.offset())
        record = Record(place, message.key(), message.value(), message.timestamp()[1])
        self.kept.append((record, at_s))


class Arrivals(Thread):
    """When the first list of each event was there for a read_committed consumer."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(daemon=True)
        self.first_s: dict[Place, float] = {}
        self._consumer = kafka.reader(settings, [settings.kafka.recommendations_topic])
        self._ending = Event()

    def stop(self) -> None:
        self._ending.set()
        self.join()
        self._consumer.close()

    def run(self) -> None:
        while not self._ending.is_set():
            message = self._consumer.poll(0.1)
            if message is not None and message.error() is None and message.value() is not None:
                place, _ = decoded(message.value())
                self.first_s.setdefault(place, time.monotonic())


def decoded(value: bytes) -> List:
    """Where the event of a list lies, and what the list says of its profile."""
    one = codec.decode("recommendation_list", value, canonical=False)
    place = source_of(one)
    return place, State(*(one[name] for name in State._fields))


class Play:
    """The job on the stage under a steady stream of events; a context.

    Args:
        stage: where.
        fault: its name in the table.
        number: of the play; topics, job and folder are named after it.
        seed: of the log.
        rate: events a second.
        values: settings that differ, by dotted names.

    Attributes:
        settings: of the job.
        job_id: of the newest job.
        quarantined: records that the job is to set aside.
        evidence: after `finish`.
    """

    def __init__(
        self,
        stage: Stage,
        fault: str,
        number: int,
        *,
        seed: int,
        rate: float,
        values: dict[str, object],
    ) -> None:
        self.stage = stage
        self.fault = fault
        self.job_id = ""
        self.quarantined: list[Place] = []
        self.evidence: Evidence | None = None
        folder = stage.settings.run_dir / f"play-{number}"
        self.settings = with_values(
            stage.settings,
            {f"kafka.{topic}_topic": f"chaos-{number}.{topic}" for topic in TOPICS}
            | {"run_dir": folder, "job.state_dir": folder.as_uri(), "job.name": f"chaos-{number}"}
            | {"job.emit": "every", "job.checkpoint_interval_ms": 1000}
            | values,
        )
        log = scenario.hostile_log(Shop(seed=seed, users=USERS), START_MS, ENDLESS)
        self._sender = Sender(self.settings, log, rate)
        self._hit_s = 0.0

    def __enter__(self) -> Play:
        ensure_topics(self.settings)
        self.submit()
        self._arrivals = Arrivals(self.settings)
        self._arrivals.start()
        self._sender.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._sender.stop()
        finally:
            self._arrivals.stop()
            self.stage.cancel_jobs()

    def submit(self, *more: str, **values: object) -> dict[str, Any]:
        """Submit the job; it runs when this returns.

        Args:
            more: options of `headrace submit`.
            values: settings of the section ``job`` that change.
        """
        changes = {f"job.{name}": value for name, value in values.items()}
        self.settings = with_values(self.settings, changes)
        told = self.try_to_submit(*more)
        assert told.exit_code == 0, told
        self.job_id = told.result["job_id"]
        return told.result

    def try_to_submit(self, *more: str) -> Told:
        return headrace(self.settings, "submit", *more)

    def stop(self, *more: str) -> dict[str, Any]:
        """`headrace stop`."""
        told = headrace(self.settings, "stop", *more)
        assert told.exit_code == 0, told
        return told.result

    def reach(self, record: int = FAULT_AT, *, checkpoints: int = 1) -> None:
        """Return when that record is sent, lists flow and checkpoints are there: now the fault."""
        self._until_sent(record)
        until(lambda: self._arrivals.first_s, "list")
        until(
            lambda: self.stage.checkpoints(self.job_id)["completed"] >= checkpoints, "checkpoints"
        )
        self._hit_s = time.monotonic()

    def send(self, record: scenario.Sent) -> Place:
        """Send one more record, unlike all others; where it lies."""
        self._sender.extra.append(record)
        kept = self._sender.kept
        [place] = until(
            lambda: [one.place for one, _ in kept.copy() if one.value == record.value],
            "place of the record",
        )
        return place

    def _until_sent(self, record: int) -> None:
        until(lambda: self._sender.error or self._sender.sent >= record, f"record {record}")

    def after_a_checkpoint(self) -> None:
        """Return half an interval after a checkpoint: what comes now lies between two."""
        before = self.stage.checkpoints(self.job_id)["completed"]
        until(lambda: self.stage.checkpoints(self.job_id)["completed"] > before, "checkpoint")
        half = self._sender.rate * self.settings.job.checkpoint_interval_ms / 2000
        self.reach(self._sender.sent + int(half))

    def until_fresh(self) -> float:
        """Seconds from the fault to the first list of an event that was sent after it."""
        return until(lambda: min(self._fresh(), default=0.0), "fresh list") - self._hit_s

    def _fresh(self) -> Iterator[float]:
        first_s = self._arrivals.first_s
        for record, at_s in reversed(self._sender.kept.copy()):
            if at_s <= self._hit_s:
                return
            if record.place in first_s:
                yield first_s[record.place]

    def finish(self) -> Row:
        """Wait for everything that is due, end the job, and judge."""
        fresh_s = self.until_fresh()
        self._until_sent(self._sender.sent + TAIL)
        self._sender.stop()
        reference = Reference(self.settings)
        for place in self.quarantined:
            reference.quarantine(place)
        reference.take(sorted(record for record, _ in self._sender.kept))
        outcomes = Outcomes(self.settings)
        outcomes.wait_for(len(self._sender.kept))
        self._wait_for_lists(reference.states.keys())
        self.stage.cancel_jobs()
        lists = [decoded(value) for _, value, _ in read_lists(self.settings) if value is not None]
        self.evidence = Evidence(reference.outcomes, reference.states, outcomes.written, lists)
        return judged(self.fault, max(fresh_s, self._silence_s()), self.evidence)

    def _silence_s(self) -> float:
        """The longest time without a list after the fault; a job that is stopped goes on first."""
        came = sorted(at_s for at_s in self._arrivals.first_s.values() if at_s > self._hit_s)
        return max(after - before for before, after in pairwise([self._hit_s, *came]))

    def _wait_for_lists(self, places: Iterable[Place]) -> None:
        """Until they are all there, or none came for long."""
        first_s = self._arrivals.first_s
        missing = set(places)
        deadline = time.monotonic() + SILENCE_S
        while missing and time.monotonic() < deadline:
            if came := missing & first_s.keys():
                missing -= came
                deadline = time.monotonic() + SILENCE_S
            time.sleep(0.05)

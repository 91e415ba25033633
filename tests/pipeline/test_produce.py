from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from pipeline import kafka
from pipeline.config import Settings, as_environment, load_settings
from pipeline.delivery import Standing
from pipeline.produce import already_sent, produce, send_control
from pipeline.sender import new_producer, now_ms
from pipeline.sources import UserEvent, open_source, write_jsonl
from pipeline.sources.records import JsonlSource
from schemas import codec
from schemas.errors import SettingsError

pytestmark = pytest.mark.real

EVENTS = 4_000
USERS = 20


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.jsonl"
    write_jsonl(
        path,
        (
            UserEvent(f"e{n}", f"user-{n % USERS}", f"item-{n % 7}", "view", 1_600_000_000_000 + n)
            for n in range(EVENTS)
        ),
    )
    return path


def received(settings: Settings) -> dict[str, list[int]]:
    """The numbers of each user's events, in the order in which they lie in the topic."""
    numbers: dict[str, list[int]] = {}
    for message in kafka.read_to_end(settings, settings.kafka.events_topic):
        event = codec.decode("user_event", message.value())
        assert message.key().decode() == event["user_id"]
        numbers.setdefault(event["user_id"], []).append(int(event["event_id"][1:]))
    return numbers


def test_a_whole_log_arrives_in_order_and_is_not_sent_again(settings: Settings, log: Path) -> None:
    told = produce(settings, open_source("jsonl", log))
    assert (told["sent"], told["delivered"], told["resumed_at"]) == (EVENTS, EVENTS, 0)
    expected = {f"user-{u}": list(range(u, EVENTS, USERS)) for u in range(USERS)}
    assert received(settings) == expected
    again = produce(settings, open_source("jsonl", log))
    assert (again["sent"], again["delivered"], again["resumed_at"]) == (0, EVENTS, EVENTS)
    assert produce(settings, open_source("jsonl", log), resume=False)["sent"] == EVENTS


def test_a_changed_log_is_sent_from_its_beginning(settings: Settings, log: Path) -> None:
    produce(settings, open_source("jsonl", log))
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:10]))
    assert produce(settings, open_source("jsonl", log))["sent"] == 10


def test_a_killed_run_goes_on_and_every_event_is_there_once(settings: Settings, log: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pipeline",
        "produce",
        "--source",
        "jsonl",
        str(log),
        "--rate",
        "500",
    ]
    running = subprocess.Popen(command, env=as_environment(settings))
    events_topic = settings.kafka.events_topic
    # Until much is in the topic that the progress file does not tell of.
    while not 0 < known(settings) < kafka.end_offset(settings.kafka, events_topic) - 50:
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(0.02)
    running.kill()
    running.wait()
    there = kafka.end_offset(settings.kafka, events_topic)
    assert there < EVENTS

    told = produce(settings, open_source("jsonl", log))
    assert 0 < told["resumed_at"] < there
    assert told["resumed_at"] + told["found"] == there
    assert (told["sent"], told["delivered"]) == (EVENTS - there, EVENTS)
    assert received(settings) == {f"user-{u}": list(range(u, EVENTS, USERS)) for u in range(USERS)}


def known(settings: Settings) -> int:
    """How many events the progress file says are delivered."""
    files = (settings.run_dir / "produce").glob("*.json")
    return max((json.loads(file.read_text())["delivered"] for file in files), default=0)


def test_what_was_sent_before_a_log_was_begun_anew_is_sent_again(
    settings: Settings, log: Path
) -> None:
    produce(settings, open_source("jsonl", log))

    class Broken(JsonlSource):
        def __iter__(self) -> Iterator[UserEvent]:
            yield from islice(super().__iter__(), 100)
            raise KeyboardInterrupt

    Broken.__name__ = "JsonlSource"  # the same log
    with pytest.raises(KeyboardInterrupt):
        produce(settings, Broken(log), resume=False)
    produce(settings, open_source("jsonl", log))
    numbers = [number for of_user in received(settings).values() for number in of_user]
    assert sorted(numbers) == sorted(2 * list(range(EVENTS)))


def test_among_other_records_what_was_sent_is_found_by_its_id(settings: Settings) -> None:
    sent, unsent = (UserEvent(i, "user-1", "item", "view", 1_600_000_000_000) for i in "ab")
    values = None, b"junk", codec.encode("user_event", sent.as_record())
    producer = new_producer(settings)
    for value in values:
        producer.produce(settings.kafka.events_topic, value, b"user-1")
    producer.flush()
    assert already_sent(settings, Standing(), [sent, unsent]) == {"a"}
    assert already_sent(settings, Standing(since_ms=now_ms() + 60_000), [sent, unsent]) == set()


def test_an_order_lies_where_the_answer_says(settings: Settings) -> None:
    told = send_control(settings, "user-1", "forget", 1_600_000_000_000)
    (message,) = kafka.read_to_end(settings, settings.kafka.control_topic)
    assert (message.partition(), message.offset()) == (told["partition"], told["offset"])
    assert message.key() == b"user-1"
    order = codec.decode("control", message.value())
    assert order == {
        "control_id": told["control_id"],
        "user_id": "user-1",
        "action": "forget",
        "as_of": 1_600_000_000_000,
    }


def test_two_paces_are_refused(log: Path) -> None:
    with pytest.raises(SettingsError, match="Two paces"):
        produce(load_settings(environ={}), open_source("jsonl", log), rate=1, speedup=1)

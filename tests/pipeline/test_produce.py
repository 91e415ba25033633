from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import kafka
from pipeline.config import Settings, as_environment, load_settings
from pipeline.produce import produce, send_control
from pipeline.sources import UserEvent, open_source, write_jsonl
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


def test_a_killed_run_goes_on_and_nothing_is_lost(settings: Settings, log: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pipeline",
        "produce",
        "--source",
        "jsonl",
        str(log),
        "--rate",
        "1000",
    ]
    running = subprocess.Popen(command, env=as_environment(settings))
    while not any(json.loads(f.read_text())["delivered"] for f in kept(settings)):
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(0.02)
    running.kill()
    running.wait()

    told = produce(settings, open_source("jsonl", log))
    assert 0 < told["resumed_at"] < EVENTS
    assert told["sent"] == EVENTS - told["resumed_at"]
    sent_twice = 0
    for user, numbers in received(settings).items():
        once = list(dict.fromkeys(numbers))
        assert once == list(range(int(user[5:]), EVENTS, USERS))
        sent_twice += len(numbers) - len(once)
    assert sent_twice <= 2_000  # at 1,000/s: what was confirmed after the last save


def kept(settings: Settings) -> list[Path]:
    return list((settings.run_dir / "produce").glob("*.json"))


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

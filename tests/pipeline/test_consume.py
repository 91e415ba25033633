from __future__ import annotations

from io import StringIO
from itertools import permutations
from typing import Any

import pytest
from confluent_kafka import KafkaError
from rich.console import Console

from pipeline import kafka
from pipeline.config import Settings, load_settings
from pipeline.consume import Newest, Published, as_json, consume
from pipeline.lists import provenance, rendered, titles
from schemas import codec, errors


def record(user: str, version: int, **changes: Any) -> dict[str, Any]:
    return {
        "engine": "shop@3",
        "engine_digest": b"\1" * 32,
        "engine_seq": 1,
        "runtime": b"\2" * 8,
        "job_epoch": 1,
        "degrade_level": 0,
        "user_id": user,
        "user_epoch": 0,
        "version": version,
        "cause": "event",
        "source_partition": 2,
        "source_offset": 77,
        "event_time": 1_600_000_000_000,
        "generated_at": 1_600_000_000_500 + version,
        "events_digest": b"\3" * 16,
        "profile_hash": b"\4" * 16,
        "items": [{"item_id": "lamp", "score": 0.5, "reason": "cooccurrence"}],
    } | changes


class Message:
    """What `Published.of` needs of a Kafka record."""

    def __init__(self, user: str, value: bytes | None, headers: Any = None) -> None:
        self._parts = user.encode(), value, headers

    def key(self) -> bytes:
        return self._parts[0]

    def value(self) -> bytes | None:
        return self._parts[1]

    def headers(self) -> Any:
        return self._parts[2]

    def error(self) -> Any:
        return None


class Failure:
    """A record that is an error of librdkafka."""

    def __init__(self, code: int) -> None:
        self._error = KafkaError(code)

    def error(self) -> KafkaError:
        return self._error


class Consumer:
    """Hands out what it was given, then acts as if Ctrl-C were pressed."""

    def __init__(self, *records: Any) -> None:
        self._records = iter(records)
        self.closed = False

    def poll(self, timeout_s: float) -> Any:
        try:
            return next(self._records)
        except StopIteration:
            raise KeyboardInterrupt from None

    def close(self) -> None:
        self.closed = True


def followed(
    monkeypatch: pytest.MonkeyPatch, *records: Any, **how: Any
) -> tuple[list[Published], dict[str, Any]]:
    """What is shown and told when these come while following."""
    consumer = Consumer(*records)
    monkeypatch.setattr(kafka, "reader", lambda *_, **__: consumer)
    shown: list[Published] = []
    try:
        return shown, consume(load_settings(environ={}), shown.append, follow=True, **how)
    finally:
        assert consumer.closed


LISTS = codec.Decoder(codec.versions("recommendation_list"))


def listed(user: str, version: int, **changes: Any) -> Published:
    value = codec.encode("recommendation_list", record(user, version, **changes))
    return Published.of(Message(user, value), LISTS)


def tombstone(user: str, user_epoch: int, job_epoch: int = 1) -> Published:
    headers = [("user_epoch", b"%d" % user_epoch), ("job_epoch", b"%d" % job_epoch)]
    return Published.of(Message(user, None, headers), LISTS)


IN_ORDER = [
    listed("u", 9),
    listed("u", 9, engine_seq=2),
    tombstone("u", 1),
    listed("u", 1, user_epoch=1),
    listed("u", 1, job_epoch=2),
]


@pytest.mark.parametrize("arrival", list(permutations(range(len(IN_ORDER))))[::7])
def test_the_newest_wins_in_whatever_order_they_arrive(arrival: tuple[int, ...]) -> None:
    newest = Newest()
    for place in arrival:
        newest.offer(IN_ORDER[place])
    assert not any(map(newest.offer, IN_ORDER[:-1]))
    assert newest.offer(IN_ORDER[-1])


def test_an_older_list_is_not_taken_and_an_equal_one_is() -> None:
    newest = Newest()
    assert newest.offer(listed("u", 2))
    assert not newest.offer(listed("u", 1))
    assert newest.offer(listed("u", 2, generated_at=1_600_000_009_000))
    assert newest.offer(listed("v", 1))
    assert newest.counts() == {"users": 2, "forgotten": 0}
    newest.offer(tombstone("v", 1))
    assert newest.counts() == {"users": 1, "forgotten": 1}


def test_a_list_is_shown_with_titles_and_provenance() -> None:
    out = StringIO()
    console = Console(file=out, width=160)
    console.print(rendered(listed("[u]", 4, degrade_level=1), {"lamp": "Oak [Lamp]"}))
    console.print(rendered(tombstone("v", 3), {}))
    text = " ".join(out.getvalue().split())
    assert "[u]" in text
    assert "1 │ lamp │ Oak [Lamp] │ 0.5 │ cooccurrence" in text
    assert (
        "shop@3 (activation 1) · degraded to level 1 · 4 events, digest 03030303 · "
        "caused by event 2:77 · 2020-09-13 12:26:40 UTC" in text
    )
    assert "v: forgotten (user epoch 3)" in text


def test_a_full_list_says_nothing_of_degradation() -> None:
    assert "degraded" not in provenance(record("u", 1))


def test_digests_are_hex_digits_in_json() -> None:
    assert as_json(record("u", 1))["runtime"] == "0202020202020202"


def test_without_an_engine_there_are_no_titles() -> None:
    assert titles(load_settings(flags={"engine.store": "/nowhere"}, environ={})) == {}


def lists_of(users: int) -> list[Message]:
    names = [f"user-{at}" for at in range(users)]
    return [Message(u, codec.encode("recommendation_list", record(u, 1))) for u in names]


def test_following_goes_on_until_ctrl_c_and_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    end = Failure(KafkaError._PARTITION_EOF)
    gone = Message("user-3", None, [("user_epoch", b"1"), ("job_epoch", b"1")])
    shown, told = followed(monkeypatch, *lists_of(25), None, end, gone)
    assert len(shown) == 26
    assert told == {"users": 24, "forgotten": 1, "lists": []}


def test_following_ends_at_a_limit_and_tells_what_was_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown, told = followed(monkeypatch, *lists_of(25), limit=3)
    assert len(shown) == 3
    assert [one["user_id"] for one in told["lists"]] == ["user-0", "user-1", "user-2"]


def test_an_error_while_following_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.KafkaError, match="TOPIC_AUTHORIZATION_FAILED"):
        followed(monkeypatch, Failure(KafkaError.TOPIC_AUTHORIZATION_FAILED))


def test_without_following_ten_lists_are_shown_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "read_to_end", lambda *_, **__: iter(lists_of(25)))
    for limit, expected in ((None, 10), (3, 3), (0, 25)):
        shown: list[Published] = []
        told = consume(load_settings(environ={}), shown.append, limit=limit)
        assert (len(shown), len(told["lists"]), told["users"]) == (expected, expected, 25)


@pytest.mark.real
class TestTopic:
    @pytest.fixture(autouse=True)
    def _published(self, settings: Settings) -> None:
        from confluent_kafka import Producer

        producer = Producer(kafka.producer_config(settings.kafka))

        def publish(user: str, version: int, **changes: Any) -> None:
            value = codec.encode("recommendation_list", record(user, version, **changes))
            producer.produce(settings.kafka.recommendations_topic, value, user.encode())

        for version in (1, 3, 2):
            publish("ada", version)
        publish("bob", 9)
        publish("cyd", 1)
        headers = [("user_epoch", b"1"), ("job_epoch", b"1")]
        topic = settings.kafka.recommendations_topic
        producer.produce(topic, None, b"cyd", headers=headers)
        producer.flush()

    def consumed(self, settings: Settings, **how: Any) -> tuple[list[Published], dict[str, Any]]:
        shown: list[Published] = []
        return shown, consume(settings, shown.append, **how)

    def test_each_user_once_with_the_newest_list(self, settings: Settings) -> None:
        shown, told = self.consumed(settings)
        assert [(one.user_id, one.order[2]) for one in shown] == [("ada", 3), ("bob", 9)]
        assert (told["users"], told["forgotten"]) == (2, 1)
        assert [one["user_id"] for one in told["lists"]] == ["ada", "bob"]

    def test_one_user_forgotten_or_not(self, settings: Settings) -> None:
        shown, _ = self.consumed(settings, user="ada")
        assert [one.order[2] for one in shown] == [3]
        shown, told = self.consumed(settings, user="cyd")
        assert [one.list for one in shown] == [None]
        assert (told["users"], told["lists"]) == (0, [])

    def test_at_most_so_many_the_latest(self, settings: Settings) -> None:
        shown, _ = self.consumed(settings, limit=1)
        assert [one.user_id for one in shown] == ["bob"]

    def test_followed_from_the_beginning(self, settings: Settings) -> None:
        shown, _ = self.consumed(settings, user="ada", follow=True, limit=2)
        assert [one.order[2] for one in shown] == [1, 3]

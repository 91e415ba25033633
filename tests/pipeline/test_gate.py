from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from engines.draft import Draft
from engines.models.interactions import Event
from engines.registry import Registry
from pipeline import gate as gating
from pipeline.cli import app
from pipeline.config import Settings, load_settings
from pipeline.gate import gate, held_out
from pipeline.sources import EVENT_TYPES, UserEvent, write_jsonl
from pipeline.sources.synthetic import Shop
from schemas.errors import NOT_PASSED, BundleRefused, EngineError, SettingsError, SourceError
from tests.engines.examples import CLICK, fit, scorer, scorer_draft

START_MS = 1_600_000_000_000
EVENTS = 12_000  # one a second
FIRST_END_MS = START_MS + 8_000_000
END_MS = START_MS + 9_000_000
SHOP = Shop(users=300, items_per_category=5)
NUMBERS = {name: number for number, name in enumerate(EVENT_TYPES)}
EVIL = "<script>alert(1)</script>"
PROVIDERS = {item.item_id: {"provider": f"{EVIL} {item.provider}"} for item in SHOP.catalogue}
ANY_LATENCY = {"gate.max_latency_ms": 1e6}
"""What a machine does beside the tests decides no test."""


def shop_events() -> Iterator[UserEvent]:
    return SHOP.events(EVENTS, START_MS, 1000.0)


def shop_log(until_ms: int) -> list[Event]:
    return [
        (event.user_id, event.item_id, NUMBERS[event.event_type], event.event_time)
        for event in shop_events()
        if event.event_time < until_ms
    ]


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "shop.jsonl"
    write_jsonl(path, shop_events())
    return path


@pytest.fixture(scope="module")
def drafts() -> list[Draft]:
    """The active engine; one of a little more data; and one of items that were mixed up."""
    newer = shop_log(END_MS)
    mixed = np.random.default_rng(0).permutation(len(newer))
    garbage = [
        (user, newer[other][1], *rest) for (user, _, *rest), other in zip(newer, mixed, strict=True)
    ]
    return [fit(part, PROVIDERS).draft() for part in (shop_log(FIRST_END_MS), newer, garbage)]


@pytest.fixture
def settings(tmp_path: Path, drafts: list[Draft]) -> Settings:
    """A store with shop@1, active, shop@2 and shop@3; all bounds but one at their defaults."""
    flags = {"engine.store": tmp_path / "store", **ANY_LATENCY}
    settings = load_settings(flags=flags, environ={})
    registry = Registry(settings.engine.store)
    for draft in drafts:
        registry.add(draft, "shop")
    registry.activate("shop", "1")
    return settings


def call(settings: Settings, *words: str) -> Result:
    flags = {"engine.store": settings.engine.store, **ANY_LATENCY}
    pairs = [word for name, value in flags.items() for word in ("--set", f"{name}={value}")]
    return CliRunner().invoke(app, [*words, *pairs])


def failed(told: dict[str, Any]) -> list[str]:
    return [check["name"] for check in told["checks"] if not check["passed"]]


def test_an_engine_of_a_little_more_data_passes_and_may_be_activated(
    settings: Settings, log: Path
) -> None:
    done = call(settings, "gate", "shop@2", "--source", "jsonl", str(log), "--json")
    told = json.loads(done.stdout.splitlines()[-1])
    assert (done.exit_code, told["passed"], failed(told)) == (0, True, [])
    assert (told["candidate"]["engine"], told["active"]["engine"]) == ("shop@2", "shop@1")
    assert (told["split"], told["seen_in_training"]) == ("time", False)
    assert told["from_ms"] == END_MS - 1000 + 1
    assert 0.5 < told["overlap"]["mean"] < 1
    activated = call(settings, "activate", "shop@2", "--json")
    assert (activated.exit_code, json.loads(activated.stdout)["forced"]) == (0, False)


def test_garbage_fails_with_a_status_of_its_own_and_is_not_activated(
    settings: Settings, log: Path
) -> None:
    done = call(settings, "gate", "shop@3", "--source", "jsonl", str(log), "--json")
    told = json.loads(done.stdout.splitlines()[-1])
    assert (done.exit_code, NOT_PASSED, told["passed"]) == (10, 10, False)
    assert "max_ndcg_drop" in failed(told)
    refused = call(settings, "activate", "shop@3")
    assert refused.exit_code == 5
    assert "failed against shop@1: max_ndcg_drop" in refused.stderr
    forced = call(settings, "activate", "shop@3", "--force", "--json")
    assert json.loads(forced.stdout)["forced"] is True
    back = call(settings, "rollback", "--json")
    told = json.loads(back.stdout)
    assert (told["name"], told["version"], told["engine_seq"]) == ("shop", "1", 3)


def test_the_active_engine_passes_against_itself(settings: Settings, log: Path) -> None:
    told = gate(settings, "shop@1", "jsonl", log)
    assert told["passed"]
    assert told["overlap"]["mean"] == 1


def test_the_newest_of_a_name_is_meant_and_any_can_be_held_against(
    settings: Settings, log: Path
) -> None:
    told = gate(settings, "shop", "jsonl", log, against="shop@2")
    assert (told["candidate"]["engine"], told["active"]["engine"]) == ("shop@3", "shop@2")
    registry = Registry(settings.engine.store)
    registry.activate("shop", "3", force=True)
    assert gate(settings, "shop@2", "jsonl", log, against="shop@1")["passed"]
    with pytest.raises(EngineError, match=r"received: a pass against shop@1"):
        registry.activate("shop", "2")


def test_people_are_shown_checks_and_figures(settings: Settings, log: Path) -> None:
    done = call(settings, "gate", "shop@2", "--source", "jsonl", str(log))
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert lines[0].startswith("shop@2 against shop@1, by ")
    assert any(re.match(r"gate\.max_ndcg_drop +\S+ +at most 0\.02 +passed", line) for line in lines)
    assert any(re.match(r"NDCG@10 +0\.\d{4} +0\.\d{4} +-?0\.\d{4}", line) for line in lines)
    assert "passed = true" in lines
    assert len(lines) < 45
    assert max(map(len, lines[1:])) <= 80


def test_the_report_stands_alone(settings: Settings, log: Path, tmp_path: Path) -> None:
    path = tmp_path / "gate.html"
    words = ("gate", "shop@3", "--source", "jsonl", str(log), "--html", str(path))
    done = call(settings, *words)
    assert (done.exit_code, f"report = {path}" in done.stdout) == (10, True)
    text = path.read_text()
    assert set(re.findall(r"https?://[^\s\"'<)]*", text)) == {"http://www.w3.org/2000/svg"}
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_a_report_without_matplotlib_is_refused_before_the_work(
    settings: Settings, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineError, match=r"headrace\[report\]"):
        gate(settings, "shop@2", "jsonl", log, html=tmp_path / "gate.html")
    assert not (settings.engine.store / ".gates").exists()
    assert gate(settings, "shop@2", "jsonl", log)["passed"]  # the rest works without it


def test_a_sample_of_the_users_is_tested_with_one_bar(
    settings: Settings, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars: dict[str, int | None] = {}
    done: list[int] = []

    @contextmanager
    def bar(console: object, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
        bars[label] = total
        yield done.append

    monkeypatch.setattr(gating, "bar", bar)
    few = load_settings(
        flags={"engine.store": settings.engine.store, "gate.users": 150, **ANY_LATENCY}, environ={}
    )
    assert gate(few, "shop@2", "jsonl", log)["users"] == 150
    assert (bars, done[-1]) == ({"ranking": 300}, 300)


def test_too_few_users_prove_nothing(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "few.jsonl"
    write_jsonl(path, Shop(users=20, items_per_category=5).events(2_000, START_MS, 1000.0))
    assert failed(gate(settings, "shop@1", "jsonl", path)) == ["min_users"]


FIVE_USERS = [(f"u{n}", item, CLICK, place) for n in range(5) for place, item in enumerate("abcd")]


class TestHeldOut:
    """Which users are tested, and on what."""

    @staticmethod
    def split(log: Sequence[Event], ends: Sequence[int | None], *more: Any) -> tuple[str, int, Any]:
        """How they were held out, how many, and whether it was seen."""
        trained = [
            fit([("u", "a", CLICK, 0), ("u", "b", CLICK, end)]).draft(k=1)
            if end is not None
            else unknown()
            for end in ends
        ]
        bundles = [_Bundle(draft) for draft in trained]
        held, told = held_out(log, bundles, *more)  # type: ignore[arg-type]
        return told["split"], len(held.histories), (told["from_ms"], told["seen_in_training"])

    def test_what_comes_after_both_trainings_is_to_be_found(self) -> None:
        assert self.split(FIVE_USERS, (1, 2), None, 5) == ("time", 5, (3, False))
        assert self.split(FIVE_USERS, (2, 1), None, 5) == ("time", 5, (3, False))

    def test_without_enough_of_it_the_newest_event_is(self) -> None:
        one_goes_on = [event for event in FIVE_USERS if event[3] < 3 or event[0] == "u0"]
        assert self.split(one_goes_on, (1, 2), None, 1) == ("time", 1, (3, False))
        assert self.split(one_goes_on, (1, 2), None, 2) == ("leave-one-out", 5, (None, True))
        assert self.split(FIVE_USERS, (1, 3), None, 1) == ("leave-one-out", 5, (None, True))

    def test_a_training_of_unknown_range_may_have_met_anything(self) -> None:
        assert self.split(FIVE_USERS, (1, None), None, 1) == ("leave-one-out", 5, (None, True))
        assert self.split(FIVE_USERS, (1, None), 2, 1) == ("time", 5, (2, True))

    def test_a_time_that_was_asked_for_is_taken(self) -> None:
        assert self.split(FIVE_USERS, (0, 1), 2, 9) == ("time", 5, (2, False))
        assert self.split(FIVE_USERS, (0, 2), 2, 9) == ("time", 5, (2, True))
        assert self.split(FIVE_USERS, (2, 0), 2, 9) == ("time", 5, (2, True))


def unknown() -> Draft:
    return scorer_draft(scorer([], items=4))


class _Bundle:
    """As much of a bundle as decides who is tested."""

    def __init__(self, draft: Draft) -> None:
        self.manifest = draft


def test_between_two_times_users_are_tested_by_what_they_did_then(
    settings: Settings, log: Path
) -> None:
    until, later = END_MS + 500_000, END_MS + 2_000_000
    told = gate(settings, "shop@2", "jsonl", log, "", until, later)
    assert (told["split"], told["from_ms"], told["seen_in_training"]) == ("time", until, False)
    told = gate(settings, "shop@2", "jsonl", log, "", FIRST_END_MS, later)
    assert (told["from_ms"], told["seen_in_training"]) == (FIRST_END_MS, True)
    told = gate(settings, "shop@2", "jsonl", log, "", FIRST_END_MS)
    assert (told["split"], told["seen_in_training"]) == ("leave-one-out", True)
    with pytest.raises(SettingsError, match="nothing between the two times"):
        gate(settings, "shop@2", "jsonl", log, "", None, later)


def test_what_cannot_be_compared_is_an_error(settings: Settings, log: Path) -> None:
    for engine in ("news", "shop@9"):
        with pytest.raises(EngineError, match=rf"no engine {engine}"):
            gate(settings, engine, "jsonl", log)
        with pytest.raises(EngineError, match=rf"no engine {engine}"):
            gate(settings, "shop@2", "jsonl", log, against=engine)
    with pytest.raises(SourceError):
        gate(settings, "shop@2", "jsonl", log.with_name("none.jsonl"))
    (settings.engine.store / "shop" / "2" / "model.onnx").write_bytes(b"spoiled")
    with pytest.raises(BundleRefused, match=r"model\.onnx"):
        gate(settings, "shop@2", "jsonl", log)
    (settings.engine.store / "active.json").unlink()
    with pytest.raises(EngineError, match="no engine is active"):
        gate(settings, "shop@3", "jsonl", log)


def test_a_log_without_anybody_to_test_is_an_error(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "once.jsonl"
    write_jsonl(path, list(shop_events())[:1])
    with pytest.raises(EngineError, match="no user to test on"):
        gate(settings, "shop@2", "jsonl", path)

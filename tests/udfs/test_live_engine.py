"""A new engine is tried beside the old one, then taken between two batches, or refused.

Real engines in a real store; time passes only where a test says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from engines.active import Active
from engines.backends.base import RankedBatch
from engines.registry import Registry
from schemas import codec
from schemas.errors import EngineError
from tests.engines.examples import fit, random_profiles, scorer, scorer_draft, spoil
from tests.udfs.requests import packed_request
from tests.waiting import until
from udfs.engine import Engine, EngineSettings
from udfs.live_engine import MAX_DEATHS, POLL_S, LiveEngine, first_engine
from udfs.request import Requests
from udfs.state_file import EngineState, StateFile, read_states
from udfs.trial import TrialSettings
from udfs.trial_record import TrialRecord

LIST = "recommendation_list"
ITEMS = 20
ROWS = 12
TRIAL = TrialSettings(
    shadow_batches=3, min_overlap=0.2, max_latency_ms=1.0, max_latency_ratio=4.0, probation_s=60.0
)


class Clock:
    """Stands still but for what is added."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Slowed(Engine):
    """An engine that needs so many seconds for a batch, by the clock of the test."""

    def __init__(self, active: Active, settings: EngineSettings, clock: Clock, seconds: float):
        super().__init__(active, settings)
        self.clock, self.seconds = clock, seconds

    def rank(self, requests: Requests) -> RankedBatch:
        ranked = super().rank(requests)
        self.clock.now += self.seconds
        return ranked


@dataclass
class Play:
    """A worker and its store."""

    folder: Path
    clock: Clock = field(default_factory=Clock)
    told: list[EngineState] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.registry = Registry(self.folder / "store")
        self.settings = EngineSettings(self.registry.store, 1, 7, codec.header(LIST))
        self.add("old")
        self.activate("old")
        self.submitted = self.registry.active()
        self.start()
        self.batch = Requests.unpack(
            [packed_request(profile.tobytes()) for profile in random_profiles(ROWS, ITEMS)]
        )

    def start(self) -> None:
        """A worker starts; one before it has ended."""
        path, record = self.registry.active_path, TrialRecord(self.folder)
        first = first_engine(self.submitted, path, self.load, record)
        self.live = LiveEngine(first, path, self.load, TRIAL, record, self.told.append, self.clock)

    def load(self, active: Active) -> Engine:
        return Slowed(active, self.settings, self.clock, self.seconds.get(active.name, 0.01))

    def add(self, name: str, seed: int = 0) -> Path:
        random = np.random.default_rng(0)
        log = [
            (str(user), str(item), 3, place)
            for user in range(40)
            for place, item in enumerate(random.integers(0, ITEMS, 12))
        ]
        return self.registry.add(fit(log[seed:]).draft(batch=8, k=5), name).folder

    def activate(self, name: str) -> None:
        self.registry.activate(name, force=True)
        self.clock.now += POLL_S

    def rank(self) -> set[int]:
        """Ranks a batch; the ``engine_seq`` that its lists carry."""
        values = self.live.rank([f"user-{row}" for row in range(ROWS)], self.batch)
        assert len(values) == ROWS
        assert all(values)
        return {self.live.engine.active.engine_seq}

    def until(self, state: str) -> EngineState:
        """Ranks batches until the worker is in a state."""

        def there() -> bool:
            self.rank()
            return self.told[-1].state == state

        until(there, state)
        return self.told[-1]

    def states(self) -> list[str]:
        return [state.state for state in self.told]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    return Play(tmp_path)


def test_a_good_engine_is_taken_and_the_old_one_let_go(play: Play) -> None:
    assert play.rank() == {1}
    play.add("new", seed=12)
    play.activate("new")
    taken = play.until("probation")
    assert (taken.serving, taken.engine_seq, taken.other) == ("new@1", 2, "old@1")
    assert "overlap 0." in taken.reason or "overlap 1." in taken.reason
    assert play.rank() == {2}
    play.clock.now += TRIAL.probation_s
    assert play.rank() == {2}
    assert play.states() == ["serving", "trial", "probation", "serving"]
    assert play.live.refused == 0


def test_every_batch_is_ranked_by_one_engine_and_none_is_lost(play: Play) -> None:
    play.add("new", seed=12)
    play.activate("new")
    made = []
    while play.told[-1].state != "probation":
        values = play.live.rank([f"user-{row}" for row in range(ROWS)], play.batch)
        made.append({codec.decode(LIST, value)["engine_seq"] for value in values})
    assert all(len(seqs) == 1 for seqs in made)
    order = [seqs.pop() for seqs in made]
    assert order == sorted(order)
    assert set(order) == {1, 2}


def slow(play: Play) -> None:
    play.add("new")
    play.seconds["new"] = 0.1
    play.activate("new")


def tampered(play: Play) -> None:
    model = play.add("new") / "model.onnx"
    play.activate("new")  # it was whole when it was activated
    model.write_bytes(model.read_bytes()[:-1] + b"x")


def wrong_shaped(play: Play) -> None:
    """Its hashes are right, and its model is not what the manifest says."""
    folder = play.add("new")
    play.activate("new")
    spoil(folder, lambda manifest: manifest.update(batch=9))
    raw = json.loads(play.registry.active_path.read_bytes())
    raw["manifest_sha256"] = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    play.registry.active_path.write_text(json.dumps(raw))


def gone(play: Play) -> None:
    folder = play.add("new")
    play.activate("new")
    (folder / "model.onnx").unlink()


def not_numbers(play: Play) -> None:
    """Whoever has clicked on something gets NaN; the made-up users of the warm-up have not."""
    scores_nan = helper.make_node("Sqrt", ["negative"], ["x"])
    negative = helper.make_node("Neg", ["start"], ["negative"])
    draft = scorer_draft(scorer([negative, scores_nan], items=ITEMS, batch=8), ITEMS, 8)
    play.registry.add(draft, "new")
    play.activate("new")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (slow, "too slow: .* 50.0 ms for a batch of 8, before 5.0 ms"),
        (tampered, r"BundleRefused: .*model\.onnx"),
        (wrong_shaped, "BundleRefused: .*"),
        (gone, r"BundleRefused: .*model\.onnx"),
        (not_numbers, "EngineError: .*not numbers"),
    ],
)
def test_a_bad_engine_is_refused_with_the_reason(
    play: Play, fault: Callable[[Play], None], reason: str
) -> None:
    fault(play)
    refused = play.until("refused")
    assert re.search(reason, refused.reason), refused.reason
    assert (refused.serving, refused.engine_seq, refused.other) == ("old@1", 1, "new@1")
    assert play.live.refused == 1
    # It is not tried again, until something is activated.
    play.clock.now += 100 * POLL_S
    assert play.rank() == {1}
    assert play.told[-1] is refused
    play.add("better", seed=12)
    play.activate("better")
    assert play.until("probation").serving == "better@1"


@pytest.mark.parametrize(
    ("max_latency_ms", "ratio", "slow"),
    [(49.9, 9.9, True), (50.1, 9.9, False), (49.9, 10.1, False), (50.1, 10.1, False)],
)
def test_an_engine_may_take_as_long_as_either_bound_allows(
    max_latency_ms: float, ratio: float, slow: bool
) -> None:
    trial = replace(TRIAL, max_latency_ms=max_latency_ms, max_latency_ratio=ratio)
    batch = 8
    assert trial.too_slow(0.050 / batch, 0.005 / batch, batch) == slow


def failing(play: Play) -> Callable[[Active], Engine]:
    """Loads engines of which ``new`` fails as soon as it ranks for users."""
    load = play.load

    def loaded(active: Active) -> Engine:
        engine = load(active)
        if active.name == "new":
            rank, asked = engine.rank, []

            def fails(requests: Requests) -> RankedBatch:
                asked.append(1)
                if len(asked) > TRIAL.shadow_batches + 1:
                    raise EngineError("scores that are not numbers")
                return rank(requests)

            engine.rank = fails  # type: ignore[method-assign]
        return engine

    return loaded


def test_an_engine_that_fails_on_probation_loses_no_list(play: Play) -> None:
    play.live._load = failing(play)
    play.add("new", seed=12)
    play.activate("new")
    play.until("probation")  # its first batch goes well
    assert play.rank() == {1}  # the batch at which it fails is ranked by the old one
    fell = play.told[-1]
    assert (fell.state, fell.serving, fell.other) == ("fell back", "old@1", "new@1")
    assert "not numbers" in fell.reason


def test_an_engine_that_becomes_slow_on_probation_is_let_go(play: Play) -> None:
    play.add("new", seed=12)
    play.activate("new")
    play.until("probation")
    play.live.engine.seconds = 0.5  # type: ignore[attr-defined]
    fell = play.until("fell back")
    assert "250.0 ms for a batch of 8" in fell.reason
    assert play.rank() == {1}


def test_a_bad_request_is_no_fault_of_the_new_engine(play: Play) -> None:
    play.add("new", seed=12)
    play.activate("new")
    play.until("probation")

    def broken(requests: Requests) -> RankedBatch:
        raise ValueError("bad profile")

    play.live._probation.old.rank = broken  # type: ignore[union-attr, method-assign]
    play.live.engine.rank = broken  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="bad profile"):
        play.rank()
    assert play.told[-1].state == "probation"


def test_a_newer_activation_ends_a_trial(play: Play) -> None:
    play.add("new")
    play.add("newest", seed=12)
    play.activate("new")
    play.rank()
    play.activate("newest")
    play.rank()
    assert play.until("probation").serving == "newest@1"
    assert [state.other for state in play.told if state.state == "trial"] == ["new@1", "newest@1"]


def test_a_damaged_active_json_changes_nothing(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    play.registry.active_path.write_text("{")
    play.clock.now += POLL_S
    assert play.rank() == {1}
    assert "cannot be read" in caplog.text
    assert play.states() == ["serving"]


def test_the_state_lies_where_it_is_looked_for(tmp_path: Path) -> None:
    first, second = StateFile(tmp_path), StateFile(tmp_path)
    first.write(EngineState("old@1", 1, "refused", "new@1", "a reason that is long " * 9))
    second.write(EngineState("new@1", 2, "serving"))
    first.write(EngineState("old@1", 1, "serving"))
    found = read_states(tmp_path)
    assert sorted((state["serving"], state["state"]) for state in found) == [
        ("new@1", "serving"),
        ("old@1", "serving"),
    ]
    assert all(state["at"] for state in found)
    os.close(first._descriptor)  # as when its process ends
    assert [state["serving"] for state in read_states(tmp_path)] == ["new@1"]
    third = StateFile(tmp_path)
    assert len(list((tmp_path / "engines").iterdir())) == 2
    assert json.dumps(read_states(tmp_path))
    third.write(EngineState("new@1", 2, "serving"))


def test_few_users_are_no_slower_than_many(play: Play) -> None:
    """A model runs on whole batches: what one user costs is what eight do."""
    play.add("new", seed=12)
    play.activate("new")
    play.until("probation")
    play.batch = play.batch[:1]
    for _ in range(10):
        play.live.rank(["user-0"], play.batch)
    assert play.told[-1].state == "probation"


def taken(play: Play) -> Path:
    """A new engine that is on probation."""
    folder = play.add("new", seed=12)
    play.activate("new")
    play.until("probation")
    return folder


def proven(play: Play) -> Path:
    """A new engine that has stood its probation."""
    folder = taken(play)
    play.clock.now += TRIAL.probation_s
    play.until("serving")
    return folder


@pytest.mark.parametrize(("before", "engine_seq"), [(proven, 2), (taken, 1)])
def test_a_worker_that_starts_again_begins_with_what_is_proven(
    play: Play, before: Callable[[Play], Path], engine_seq: int
) -> None:
    before(play)
    play.start()
    assert play.live.engine.active.engine_seq == engine_seq
    assert play.rank() == {engine_seq}
    assert play.told[-1].state == ("serving" if engine_seq == 2 else "trial")


def test_what_was_proven_and_is_spoilt_is_not_begun_with(play: Play) -> None:
    (proven(play) / "model.onnx").unlink()
    play.start()
    assert play.rank() == {1}
    assert "model.onnx" in play.until("refused").reason


@pytest.mark.parametrize("deaths", [MAX_DEATHS - 1, MAX_DEATHS])
def test_an_engine_at_which_workers_die_is_tried_no_more(play: Play, deaths: int) -> None:
    play.add("new", seed=12)
    play.activate("new")
    for _ in range(deaths):
        died = TrialRecord(play.folder)
        died.begin(play.registry.active())
        for _, note in died._notes.values():
            os.close(note)  # as when its process ends
    if deaths < MAX_DEATHS:
        assert play.until("probation").serving == "new@1"
    else:
        assert "3 workers died" in play.until("refused").reason
        assert play.rank() == {1}

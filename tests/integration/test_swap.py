"""Engines that are activated while the job runs: a good one is taken, bad ones are not.

One job meets them one after the other while events flow; every list is there at the end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from engines.registry import Registry
from pipeline.config import Settings, with_values
from pipeline.quarantine import suspects_folder
from pipeline.scratch import job_environment, started, wait_until_running
from pipeline.sources.synthetic import Shop
from tests.chaos.stage import headrace
from tests.engines.examples import events, fit, scorer, scorer_draft, spoil
from tests.integration import scenario
from tests.integration.conftest import START_MS, read_lists, send
from tests.integration.reference import Record, decoded
from tests.integration.test_run import Seen, expected_states, job_settings, states_in
from tests.waiting import until
from udfs.state_file import read_states

pytestmark = pytest.mark.real

CHUNK = 30
"""Events that are sent each time that the job is asked how it stands."""


@dataclass
class Play:
    """A job that runs, and the events that it was sent."""

    settings: Settings
    registry: Registry
    left: Iterator[scenario.Sent]
    sent: list[Record] = field(default_factory=list)

    def feed(self) -> None:
        chunk = [record for record, _ in zip(self.left, range(CHUNK), strict=False)]
        assert chunk, "the log is too short"
        self.sent += send(self.settings, self.settings.kafka.events_topic, chunk)

    def engine_state(self) -> dict[str, Any]:
        [state] = read_states(suspects_folder(self.settings))
        return state

    def activated(
        self, name: str, state: str, spoil_it: Callable[[], object] = lambda: None
    ) -> dict[str, Any]:
        """How the worker stands once it has come to an end with the engine ``name``.

        Args:
            spoil_it: done right after it was activated, when it was whole.
        """
        self.registry.activate(name, force=True)
        spoil_it()

        def there() -> dict[str, Any] | None:
            self.feed()
            found = self.engine_state()
            about = found["serving"] if state == "probation" else found["other"]
            return found if found["state"] == state and about == f"{name}@1" else None

        return until(there, f"{state} of {name}")


def add_good(registry: Registry) -> None:
    registry.add(fit(events("abcd", "abd", "acd")).draft(batch=64, k=3), "good")


def add_slow(registry: Registry) -> None:
    """It multiplies large matrices before it lists, and then listens to none of it."""
    width, large = 5, 1500
    nodes = [helper.make_node("MatMul", ["start", "wide"], ["x0"])]
    nodes += [helper.make_node("MatMul", [f"x{n}", "large"], [f"x{n + 1}"]) for n in range(20)]
    nodes += [
        helper.make_node("MatMul", ["x20", "narrow"], ["nothing"]),
        helper.make_node("Add", ["start", "nothing"], ["x"]),
    ]
    constants = {
        "wide": np.full((width, large), 1e-6, np.float32),
        "large": np.full((large, large), 1e-6, np.float32),
        "narrow": np.full((large, width), 1e-6, np.float32),
    }
    registry.add(scorer_draft(scorer(nodes, batch=64, constants=constants), batch=64), "slow")


def add_not_numbers(registry: Registry) -> None:
    nodes = [
        helper.make_node("Neg", ["start"], ["negative"]),
        helper.make_node("Sqrt", ["negative"], ["x"]),
    ]
    registry.add(scorer_draft(scorer(nodes, batch=64), batch=64), "nan")


def add_like(name: str, registry: Registry) -> Path:
    """A good one, to be spoilt."""
    return registry.add(fit(events("abcd", "abd")).draft(batch=64, k=3), name).folder


def test_a_running_job_takes_good_engines_only(
    broker_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = with_values(
        job_settings(broker_settings, tmp_path_factory.mktemp("swap"), "at-least-once"),
        {
            "swap.shadow_batches": 3,
            "swap.min_overlap": 0.0,
            "swap.max_latency_ms": 20.0,  # the slow one takes 100 ms and more, the others 1
            "swap.max_latency_ratio": 10.0,
        },
    )
    registry = Registry(settings.engine.store)
    log = scenario.hostile_log(Shop(seed=4, users=80), START_MS, 20_000)
    play = Play(settings, registry, log)
    with started(
        ["pipeline", "run", "--json", "--config", os.devnull],
        job_environment(settings),
        settings.run_dir,
    ) as job:
        wait_until_running(settings, job)
        play.feed()
        seen = Seen(settings)
        seen.wait_for(expected_states(settings, sorted(play.sent)).keys())
        assert play.engine_state()["serving"] == "tiny@1"

        add_good(registry)
        assert "overlap" in play.activated("good", "probation")["reason"]

        add_slow(registry)
        refused = play.activated("slow", "refused")
        assert "too slow" in refused["reason"]
        assert (refused["serving"], refused["engine_seq"]) == ("good@1", 2)

        add_not_numbers(registry)
        assert "not numbers" in play.activated("nan", "refused")["reason"]

        model = add_like("tampered", registry) / "model.onnx"
        cut = lambda: os.truncate(model, model.stat().st_size - 1)  # noqa: E731
        assert "model.onnx" in play.activated("tampered", "refused", cut)["reason"]

        shape = add_like("shape", registry)
        other = lambda: spoil(shape, lambda manifest: manifest.update(batch=9))  # noqa: E731
        assert "BundleRefused" in play.activated("shape", "refused", other)["reason"]

        expected = expected_states(settings, sorted(play.sent))
        seen.wait_for(expected.keys())
        newest_seq = registry.activate("good", force=True).engine_seq
        until(lambda: everybody_has(settings, newest_seq), "lists of the engine activated last")
        assert headrace(settings, "status").result["job"]["engines"] == [play.engine_state()]
        assert headrace(settings, "stop").exit_code == 0
        job.wait(60)
    lists = [decoded(value) for _, value, _ in read_lists(settings) if value is not None]
    assert states_in([one for one in lists if one["cause"] == "event"]) == expected
    newest: dict[str, int] = {}
    for one in lists:
        assert one["engine_seq"] >= newest.get(one["user_id"], 1)
        newest[one["user_id"]] = one["engine_seq"]
    made_by = {(one["engine"], one["engine_seq"]) for one in lists}
    assert made_by == {("tiny@1", 1), ("good@1", 2), ("good@1", newest_seq)}


def everybody_has(settings: Settings, engine_seq: int) -> bool:
    """Whether all have a list of this engine; whoever has none is ordered one."""
    told = headrace(settings, "rerank", "--rate", "2000").result
    assert told["engine_seq"] == engine_seq
    return told["users"] > 0 == told["ordered"]

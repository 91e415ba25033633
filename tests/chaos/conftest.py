"""Faults on real processes: one stage for all, a play for each, one table at the end.

pytest tests/chaos                          the quick ones
pytest tests/chaos -m "" --chaos-seed 5     all of them, with another log
make chaos ARGS="--chaos-rate 1000"         all of them, at another rate
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from engines.models.cooccurrence import CooccurrenceModel
from engines.registry import Registry
from pipeline.config import Settings, load_settings
from pipeline.sources.base import EVENT_TYPES
from pipeline.sources.synthetic import START_MS, Shop
from tests.chaos.play import RATE, Play
from tests.chaos.stage import Stage
from tests.chaos.verdict import Row, table
from tests.engines.examples import fit

SEED = 21
ROWS = pytest.StashKey[list[Row]]()
Acted = Callable[..., AbstractContextManager[Play]]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("chaos")
    group.addoption("--chaos-seed", type=int, default=SEED, help="Seed of the events.")
    group.addoption("--chaos-rate", type=float, default=RATE, help="Events a second.")
    group.addoption("--chaos-report", type=Path, default=None, help="File for the table as JSON.")


def played(config: pytest.Config) -> dict[str, Any]:
    """Seed and rate; the options are known only when tests/chaos is named on the command line."""
    return {
        "seed": config.getoption("--chaos-seed", SEED),
        "rate": config.getoption("--chaos-rate", RATE),
    }


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    config = terminalreporter.config
    rows = config.stash.get(ROWS, [])
    if not rows:
        return
    conditions = played(config)
    terminalreporter.section("faults, seed {seed}, {rate:g} events/s".format(**conditions))
    for line in table(rows):
        terminalreporter.write_line(line)
    if report := config.getoption("--chaos-report", None):
        report.parent.mkdir(parents=True, exist_ok=True)
        told = {**conditions, "faults": [asdict(row) for row in rows]}
        report.write_text(json.dumps(told, indent=1) + "\n")


PORTS = (
    *("local.port", "local.controller_port", "cluster.rest_port", "cluster.rpc_port"),
    *("cluster.standby_rest_port", "cluster.zookeeper_port"),
)


def stage_settings(run_dir: Path, ports: list[int], **more: object) -> Settings:
    """Settings of a stage of its own, with an active engine of the shop."""
    flags: dict[str, object] = dict(zip(PORTS, ports, strict=True))
    flags |= {"kafka.bootstrap_servers": f"127.0.0.1:{ports[0]}", "run_dir": run_dir}
    flags |= {"engine.store": run_dir / "store", **more}
    settings = load_settings(flags=flags, environ={})
    registry = Registry(settings.engine.store)
    registry.add(shop_model().draft(), "shop")
    registry.activate("shop")
    return settings


def shop_model() -> CooccurrenceModel:
    numbers = {name: number for number, name in enumerate(EVENT_TYPES)}
    events = Shop(seed=SEED).events(10_000, START_MS, 1000)
    log = [(e.user_id, e.item_id, numbers[e.event_type], e.event_time) for e in events]
    return fit(log, name="shop")


@pytest.fixture(scope="package")
def stage(
    tmp_path_factory: pytest.TempPathFactory, free_ports: Callable[[int], list[int]]
) -> Iterator[Stage]:
    """One broker and one cluster for every fault."""
    settings = stage_settings(tmp_path_factory.mktemp("chaos"), free_ports(len(PORTS)))
    with Stage(settings) as stage:
        yield stage


@pytest.fixture(scope="package")
def acted(request: pytest.FixtureRequest) -> Acted:
    """Plays a fault: ``with acted(stage, "kill -9 of …", **{"job.parallelism": 2}) as play``."""
    numbers = count(1)
    conditions = played(request.config)

    @contextmanager
    def act(stage: Stage, fault: str, **values: object) -> Iterator[Play]:
        stage.mend()
        stage.cancel_jobs()
        with Play(stage, fault, next(numbers), values=values, **conditions) as play:
            yield play
            row = play.finish()
            request.config.stash.setdefault(ROWS, []).append(row)
            assert row.right, row

    return act

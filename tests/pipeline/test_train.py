from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

import pipeline.train as training
from engines.registry import Registry
from pipeline.config import Settings, load_settings, with_values
from pipeline.evaluate import evaluate
from pipeline.lists import titles
from pipeline.sources import write_jsonl
from pipeline.sources.synthetic import Shop
from pipeline.train import train
from schemas.errors import EngineError, SourceError
from tests.engines.examples import fit
from tests.waiting import until

START_MS = 1_600_000_000_000
EVENTS = 2_000


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "shop.jsonl"
    write_jsonl(path, Shop(users=50, items_per_category=5).events(EVENTS, START_MS, 1000.0))
    return path


@pytest.fixture
def store(tmp_path: Path) -> Settings:
    return load_settings(
        flags={"engine.store": tmp_path / "store", "run_dir": tmp_path / "run"}, environ={}
    )


def test_a_log_becomes_an_engine_of_the_store(store: Settings, log: Path) -> None:
    told = train(store, "cooccurrence", "jsonl", log, name="shop")
    assert (told["engine"], told["events"], told["left_out"]) == ("shop@1", EVENTS, {})
    bundle = Registry(store.engine.store).open("shop")
    assert len(bundle.catalogue) == told["items"] <= 50
    assert Path(told["folder"], "manifest.json").is_file()
    assert train(store, "cooccurrence", "jsonl", log, name="shop")["engine"] == "shop@2"


def test_the_batch_shape_is_a_setting(store: Settings, log: Path) -> None:
    registry = Registry(store.engine.store)
    for batch in (32, 8):
        train(with_values(store, {"train.batch": batch}), "cooccurrence", "jsonl", log)
        assert registry.open("cooccurrence").manifest.batch == batch
    assert store.train.batch == 32


def test_what_comes_after_until_is_not_learnt(store: Settings, log: Path) -> None:
    told = train(store, "cooccurrence", "jsonl", log, until_ms=START_MS + 500_000)
    assert (told["events"], told["engine"]) == (500, "cooccurrence@1")


def test_rows_that_are_passed_over_are_progress_too(
    store: Settings, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    totals: list[int | None] = []
    told: list[int] = []

    @contextmanager
    def bar(console: object, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
        totals.append(total)
        yield told.append

    monkeypatch.setattr(training, "bar", bar)
    train(store, "cooccurrence", "jsonl", log, until_ms=START_MS + 500_000)
    assert totals == [EVENTS]
    assert told[-1] == EVENTS


def test_titles_come_from_the_active_engine(store: Settings) -> None:
    events = [(f"user-{n}", item, 3, n) for n in range(3) for item in ("lamp", "soap")]
    model = fit(events, {"lamp": {"title": "Oak Lamp"}})
    registry = Registry(store.engine.store)
    registry.add(model.draft(), "shop")
    assert titles(store) == {}
    registry.activate("shop")
    assert titles(store) == {"lamp": "Oak Lamp"}


def test_wrong_names_are_refused(store: Settings, log: Path) -> None:
    with pytest.raises(EngineError, match="no such model") as error:
        train(store, "oracle", "jsonl", log)
    assert error.value.expected == "cooccurrence, content, sasrec, blend"
    with pytest.raises(SourceError):
        train(store, "cooccurrence", "jsonl", log.with_name("none.jsonl"))


def test_a_log_is_evaluated_by_its_users(store: Settings, log: Path) -> None:
    told = evaluate(store, "cooccurrence", "jsonl", log)
    assert (told["log"], told["users"]) == ("shop.jsonl", 50)
    popular = evaluate(store, "popularity", "jsonl", log)
    assert told["metrics"]["hit_rate@10"] > popular["metrics"]["hit_rate@10"]


def test_a_terminal_sees_one_stage_after_the_other(store: Settings, log: Path) -> None:
    shown = StringIO()
    terminal = Console(file=shown, force_terminal=True, width=100)
    evaluate(store, "cooccurrence", "jsonl", log, console=terminal)
    assert "ranking" in shown.getvalue()
    shown.truncate(0)
    settings = with_values(store, {"train.epochs": 1, "train.width": 8})
    train(settings, "sasrec", "jsonl", log, console=terminal)
    assert "reading" in shown.getvalue()
    assert "fitting epoch 1: NDCG@100" in shown.getvalue()
    assert not list(store.run_dir.glob("training/*"))


def test_a_killed_fit_goes_on_when_the_command_is_repeated(
    store: Settings, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = store.run_dir / "training" / "sasrec"
    store = with_values(store, {"train.epochs": 4})
    command = ["train", "sasrec", "--source", "jsonl", str(log), "--config", os.devnull]
    command += ["--set", "train.epochs=4"]
    for name, value in {"run_dir": store.run_dir, "engine.store": store.engine.store}.items():
        command += ["--set", f"{name}={value}"]
    with subprocess.Popen([sys.executable, "-m", "pipeline", *command]) as process:
        until(lambda: list(checkpoints.glob("*.pt")), "a checkpoint")
        process.kill()
    assert Registry(store.engine.store).list() == []
    told: list[int] = []
    monkeypatch.setattr(training, "fitting", lambda tell: lambda done, *rest: told.append(done))
    assert train(store, "sasrec", "jsonl", log)["engine"] == "sasrec@1"
    assert told[0] > 0  # it did not begin anew
    assert not checkpoints.exists()

"""What `headrace run` says when it cannot work: what is wrong and its fix, never a traceback."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.local.process import ProcessRecord
from engines.registry import Registry
from pipeline import flink, kafka
from pipeline.cli import app
from pipeline.config import Settings, as_environment, load_settings, with_values
from pipeline.topics import ensure_topics
from tests.engines.examples import events, fit


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def nowhere(
    tmp_path: Path, free_ports: Callable[[int], list[int]], monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Settings of a broker that does not run."""
    monkeypatch.setattr(kafka, "ANSWER_S", 0.5)
    (port,) = free_ports(1)
    flags = {
        "kafka.bootstrap_servers": f"127.0.0.1:{port}",
        "run_dir": tmp_path / "run",
        "engine.store": tmp_path / "store",
    }
    return load_settings(flags=flags, environ={})


def activate_engine(settings: Settings) -> Path:
    """Train and activate a tiny engine; its folder."""
    registry = Registry(settings.engine.store)
    registry.add(fit(events("abcd", "abd")).draft(batch=2, k=3), "tiny")
    registry.activate("tiny")
    return settings.engine.store / "tiny/1"


def refusal(settings: Settings, exit_code: int) -> str:
    """How `headrace run` refuses to start, as told on stderr.

    The same must stand in the JSON object on stdout.
    """
    environ = as_environment(settings)
    result = CliRunner().invoke(app, ["run", "--json", "--seconds", "1"], env=environ)
    assert result.exit_code == exit_code, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    told = json.loads(result.stdout.splitlines()[-1])
    for part in ("expected", "received", "fix"):
        assert told[part]
        assert f"{part}: {told[part]}" in result.stderr
    assert result.stderr.startswith(f"error: {told['message']}")
    return result.stderr


def test_a_missing_jar_is_named(
    nowhere: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flink, "JARS", tmp_path)
    told = refusal(nowhere, 8)
    assert "headrace-udfs.jar" in told
    assert "make jar" in told


@pytest.mark.usefixtures("job_jars")
def test_no_active_engine_says_how_to_make_one(nowhere: Settings) -> None:
    told = refusal(nowhere, 5)
    assert "no engine is active" in told
    assert "headrace train" in told


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.usefixtures("job_jars")
@pytest.mark.parametrize("spoil", [flipped, truncated])
@pytest.mark.parametrize("name", ["model.onnx", "items.arrow", "manifest.json"])
def test_a_spoilt_engine_is_refused_and_the_file_named(
    nowhere: Settings, name: str, spoil: Callable[[bytes], bytes]
) -> None:
    file = activate_engine(nowhere) / name
    file.write_bytes(spoil(file.read_bytes()))
    told = refusal(nowhere, 5)
    assert "the engine bundle is refused" in told
    assert name in told


@pytest.mark.usefixtures("job_jars")
def test_no_broker_is_told_with_its_address(nowhere: Settings) -> None:
    activate_engine(nowhere)
    told = refusal(nowhere, 6)
    assert nowhere.kafka.bootstrap_servers in told
    assert "headrace up" in told


@pytest.mark.usefixtures("job_jars")
def test_a_transaction_that_kafka_would_abort_too_early_is_refused(nowhere: Settings) -> None:
    job = {"job.delivery": "exactly-once", "job.transaction_timeout_ms": 60_000}
    told = refusal(with_values(nowhere, job), 2)
    assert "job.transaction_timeout_ms" in told
    assert "lost" in told
    harmless = with_values(nowhere, job | {"job.delivery": "at-least-once"})
    assert "no engine is active" in refusal(harmless, 5)


@pytest.mark.real
@pytest.mark.usefixtures("job_jars")
class TestBroker:
    @pytest.fixture(autouse=True)
    def _engine(self, settings: Settings) -> None:
        activate_engine(settings)

    @pytest.mark.parametrize("topic", ["events", "control", "recommendations", "audit"])
    def test_a_missing_topic_is_named(self, settings: Settings, topic: str) -> None:
        told = refusal(with_values(settings, {f"kafka.{topic}_topic": "nobody-made-me"}), 6)
        assert "no nobody-made-me" in told
        assert "headrace topics" in told

    def test_lists_on_a_topic_that_is_not_compacted(self, settings: Settings) -> None:
        plain = f"{settings.kafka.dead_letters_topic}-plain"
        ensure_topics(with_values(settings, {"kafka.dead_letters_topic": plain}))
        told = refusal(with_values(settings, {"kafka.recommendations_topic": plain}), 6)
        assert plain in told
        assert "expected: cleanup.policy=compact" in told
        assert "received: cleanup.policy=delete" in told

    def test_another_number_of_partitions(self, settings: Settings) -> None:
        told = refusal(with_values(settings, {"kafka.partitions": 7}), 6)
        assert "number of partitions" in told

    def test_no_java(
        self, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        told = refusal(settings, 8)
        assert "Java was not found" in told
        assert "apt install" in told

    def test_a_second_job_of_the_run_folder(
        self, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.run_dir.mkdir()
        status = {"job_id": "0", "url": "http://127.0.0.1:1", "start_s": 1.0}
        own = asdict(ProcessRecord.of(os.getpid()))
        file = settings.run_dir / "job.json"
        file.write_text(json.dumps(own | status))
        with (settings.run_dir / "job.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            told = refusal(settings, 8)
        assert "a job runs already" in told
        assert str(os.getpid()) in told
        assert file.exists()  # it belongs to the other one
        monkeypatch.setenv("PATH", str(tmp_path))
        assert "Java was not found" in refusal(settings, 8)  # a stale file stops nobody

    def test_a_transaction_timeout_above_what_the_broker_grants(self, settings: Settings) -> None:
        job = {"job.delivery": "exactly-once", "job.transaction_timeout_ms": 900_001}
        told = refusal(with_values(settings, job), 6)
        assert "transaction.max.timeout.ms" in told
        assert "900000" in told

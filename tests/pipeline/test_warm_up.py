"""The warm-up job: what it leaves alone, and how it is waited for. tests/chaos runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyflink.version import __version__ as flink_version

from pipeline import operate, submit, warm_up
from pipeline.checkpoints import newest_first
from pipeline.config import Settings, load_settings, with_values
from pipeline.quarantine import suspects_folder
from schemas.errors import FlinkError
from tests.pipeline.jobmanager import JobManager, job, jobmanager


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(
        flags={
            "run_dir": tmp_path,
            "kafka.bootstrap_servers": "broker.invalid:1",
            "registry.url": "http://registry.invalid",
            "job.state_dir": "s3://bucket/state",
            "job.quarantine_dir": str(tmp_path / "quarantine"),
            "job.state_backend": "rocksdb",
        },
        environ={},
    )


@pytest.fixture
def flink() -> Iterator[JobManager]:
    """With a job ``w`` that has finished, and two free slots."""
    with jobmanager() as answers:
        answers.answers = {
            "/jobs/w": {"state": "FINISHED"},
            "/jobs/w/exceptions": {"exceptionHistory": {"entries": []}},
            "/overview": {"slots-available": 2, "flink-version": flink_version},
        }
        yield answers


def test_it_touches_nothing_of_the_users(settings: Settings, tmp_path: Path) -> None:
    own = warm_up.own_settings(settings, 3)
    scratch = tmp_path / "cluster" / "tmp"
    folders = [own.run_dir, own.engine.store, suspects_folder(own)]
    assert all(folder.is_relative_to(scratch) for folder in folders)
    assert own.job.state_dir.startswith(scratch.as_uri())
    assert "invalid" not in own.model_dump_json()
    assert own.job.name == warm_up.NAME
    # What decides which classes of Flink are loaded is the user's.
    assert (own.job.state_backend, own.job.parallelism) == ("rocksdb", 3)


def test_its_engine_asks_for_no_gpu(settings: Settings) -> None:
    users = with_values(settings, {"engine.backend": "tensorrt"})
    assert warm_up.own_settings(users, 1).engine.backend == "onnx"


def test_its_checkpoints_are_not_the_newest_of_the_users(tmp_path: Path) -> None:
    settings = load_settings(flags={"run_dir": tmp_path}, environ={})
    own = warm_up.own_settings(settings, 1)
    for one, chk in ((settings, "a/chk-1"), (own, "b/chk-2")):
        folder = one.run_dir / "checkpoints" / chk
        folder.mkdir(parents=True)
        (folder / "_metadata").touch()
    assert [folder.name for folder in newest_first(settings)] == ["chk-1"]


def test_it_is_not_mistaken_for_the_users_job(settings: Settings, flink: JobManager) -> None:
    users, other = job("a", "CANCELED"), job("w", "RUNNING", name=warm_up.NAME, start=1)
    flink.answers["/jobs/overview"] = {"jobs": [other, users]}
    assert operate.find(settings, flink) == users
    submit.check_cluster(settings, flink)


def test_its_slots_are_free_again_when_it_is_over(flink: JobManager) -> None:
    flink.answers["/jobs/w"] = [404, {"state": "RUNNING"}, {"state": "FINISHED"}]
    flink.answers["/overview"] = [{"slots-available": free} for free in (0, 1, 2)]
    warm_up.wait_for_the_end(flink, "w", 2)
    assert flink.answers["/overview"] == [{"slots-available": 2}]


@pytest.mark.parametrize("state", ["FAILED", "RUNNING"])
def test_one_that_fails_or_lasts_is_told_and_ended(
    settings: Settings, flink: JobManager, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(warm_up, "WITHIN_S", 0.5)
    monkeypatch.setattr(warm_up, "send", lambda *_: "w")
    flink.answers["/jobs/w"] = {"state": state}
    trace: dict[str, Any] = {"stacktrace": "java.lang.Error: x\nCaused by: y\n"}
    flink.answers["/jobs/w/exceptions"] = {"exceptionHistory": {"entries": [trace]}}
    with pytest.raises(FlinkError, match="not warm") as error:
        warm_up.warm_up(settings, flink, 2)
    assert error.value.received == f"{state}: y"
    assert ("PATCH", "/jobs/w?mode=cancel", None) in flink.asked

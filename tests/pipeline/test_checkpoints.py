from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.checkpoints import advice, newest_first, resolve
from pipeline.config import Settings, load_settings
from schemas.errors import FlinkError


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Its folder has a space, as people's have."""
    return load_settings(flags={"run_dir": tmp_path / "run dir"}, environ={})


def checkpoint(settings: Settings, job: str, number: int, at_s: int) -> Path:
    """A complete one of that age."""
    folder = settings.run_dir / "checkpoints" / job / f"chk-{number}"
    folder.mkdir(parents=True)
    (folder / "_metadata").write_bytes(b"state")
    os.utime(folder / "_metadata", (at_s, at_s))
    return folder


def test_the_latest_is_the_newest_complete_one_of_any_job(settings: Settings) -> None:
    checkpoint(settings, "first", 9, at_s=100)
    newest = checkpoint(settings, "second", 2, at_s=300)
    older = checkpoint(settings, "second", 1, at_s=200)
    (newest.parent / "chk-3").mkdir()  # begun, not complete
    assert resolve(settings, "latest") == newest.as_uri()
    assert newest_first(settings)[:2] == [newest, older]


def test_one_is_named_by_path_or_uri(settings: Settings) -> None:
    folder = checkpoint(settings, "job", 1, at_s=1)
    assert "run%20dir" in folder.as_uri()
    assert resolve(settings, str(folder)) == folder.as_uri()
    assert resolve(settings, folder.as_uri()) == folder.as_uri()


def test_those_of_another_file_system_are_left_to_flink(settings: Settings) -> None:
    assert resolve(settings, "s3://bucket/chk-7") == "s3://bucket/chk-7"


def test_a_folder_without_metadata_is_refused(settings: Settings) -> None:
    parent = checkpoint(settings, "job", 1, at_s=1).parent
    with pytest.raises(FlinkError, match="no savepoint or checkpoint") as error:
        resolve(settings, str(parent))
    assert str(parent) in error.value.expected


def test_latest_without_any_is_refused(settings: Settings) -> None:
    with pytest.raises(FlinkError, match="there is no checkpoint") as error:
        resolve(settings, "latest")
    assert str(settings.run_dir) in error.value.expected


def test_latest_cannot_be_looked_for_elsewhere(tmp_path: Path) -> None:
    flags: dict[str, object] = {"run_dir": tmp_path, "job.state_dir": "s3://bucket/state"}
    with pytest.raises(FlinkError) as error:
        resolve(load_settings(flags=flags, environ={}), "latest")
    assert error.value.received == "s3://bucket/state/checkpoints"


def test_a_folder_of_its_own_is_where_they_are_looked_for(tmp_path: Path) -> None:
    flags: dict[str, object] = {"run_dir": tmp_path / "state"}
    newest = checkpoint(load_settings(flags=flags, environ={}), "job", 1, at_s=1)
    flags = {"run_dir": tmp_path / "run", "job.state_dir": (tmp_path / "state").as_uri()}
    assert resolve(load_settings(flags=flags, environ={}), "latest") == newest.as_uri()


def test_the_advice_is_the_next_older_one(settings: Settings) -> None:
    oldest, older, newest = (checkpoint(settings, "job", n, at_s=n) for n in (1, 2, 3))
    assert advice(settings, newest.as_uri()) == f"--from-checkpoint {older.as_uri()}"
    assert advice(settings, older.as_uri()) == f"--from-checkpoint {oldest.as_uri()}"
    assert "--from-checkpoint" not in advice(settings, oldest.as_uri())
    # A savepoint is none of them.
    assert advice(settings, "file:/savepoint-1") == f"--from-checkpoint {newest.as_uri()}"

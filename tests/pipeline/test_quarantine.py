"""Where failures are counted, and what the command makes of the files."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import Settings, load_settings
from pipeline.quarantine import quarantine, release, suspects_folder
from schemas.errors import FlinkError


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """With failures of three records; the second one failed in two functions."""
    settings = load_settings(flags={"run_dir": tmp_path}, environ={})
    folder = suspects_folder(settings) / "strikes"
    folder.mkdir(parents=True)
    for where, stage, offset, failures in (
        ("rank", "events", 7, 2),
        ("rank", "events", 17, 3),
        ("decode", "events", 17, 1),
        ("profile", "control", 1, 4),
    ):
        line = f'{{"where": "{where}", "stage": "{stage}", "partition": 0, "offset": {offset}'
        lines = [f'{line}, "at": "2026-01-0{day}T00:00:00Z"}}\n' for day in range(1, failures + 1)]
        (folder / f"{where}-{stage}-0-{offset}.jsonl").write_text("".join(lines))
    return settings


def names(settings: Settings) -> list[str]:
    return [one["record"] for one in quarantine(settings)["quarantined"]]


def test_those_with_failures_enough_are_listed(settings: Settings) -> None:
    assert quarantine(settings)["quarantined"] == [
        {
            "record": "control:0:1",
            "where": "profile",
            "failures": 4,
            "last_at": "2026-01-04T00:00:00Z",
        },
        {
            "record": "events:0:17",
            "where": "rank",
            "failures": 3,
            "last_at": "2026-01-03T00:00:00Z",
        },
    ]


def test_a_released_record_has_no_failures_left(settings: Settings) -> None:
    assert release(settings, "events:0:17") == {"released": "events:0:17"}
    assert names(settings) == ["control:0:1"]
    left = {file.name for file in (suspects_folder(settings) / "strikes").iterdir()}
    assert left == {"rank-events-0-7.jsonl", "profile-control-0-1.jsonl"}


@pytest.mark.parametrize("record", ["events:0:7", "events:0:*", "*", "../x"])
def test_only_what_is_quarantined_can_be_released(settings: Settings, record: str) -> None:
    with pytest.raises(FlinkError, match=r"control:0:1, events:0:17"):
        release(settings, record)
    assert len(names(settings)) == 2


def test_without_a_folder_nothing_is_quarantined(tmp_path: Path) -> None:
    settings = load_settings(flags={"run_dir": tmp_path / "new"}, environ={})
    assert quarantine(settings)["quarantined"] == []


@pytest.mark.parametrize(
    ("state_dir", "quarantine_dir", "root"),
    [
        ("", "", "/runs"),
        ("file:///shared/a%20b", "", "/shared/a b"),
        ("s3://bucket/state", "", "/runs"),
        ("s3://bucket/state", "/shared", "/shared"),
    ],
)
def test_the_folder_is_where_the_settings_say(
    state_dir: str, quarantine_dir: str, root: str
) -> None:
    flags = {
        "run_dir": "/runs",
        "job.state_dir": state_dir,
        "job.quarantine_dir": quarantine_dir,
        "kafka.events_topic": "clicks",
    }
    folder = suspects_folder(load_settings(flags=flags, environ={}))
    assert folder == Path(root) / "suspects" / "clicks"

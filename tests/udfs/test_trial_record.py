"""Workers that die are real processes, killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engines.active import Active
from udfs.trial_record import TrialRecord

DIES = """
import os, signal, sys
from pathlib import Path
from engines.active import Active
from udfs.trial_record import TrialRecord

record, active = TrialRecord(Path(sys.argv[1])), Active.model_validate_json(sys.argv[2])
record.begin(active)
if sys.argv[3] == "after":
    record.end(active)
os.kill(os.getpid(), signal.SIGKILL)
"""


def activation(seq: int, sha: str = "a") -> Active:
    return Active(
        name="new",
        version="1",
        manifest_sha256=sha * 64,
        engine_seq=seq,
        activated_at="2026-11-26T12:00:00+00:00",
    )


def killed(folder: Path, active: Active, when: str) -> None:
    run = [sys.executable, "-c", DIES, str(folder), active.model_dump_json(), when]
    assert subprocess.run(run, check=False).returncode == -9


@pytest.mark.parametrize(("when", "deaths"), [("during", 2), ("after", 0)])
def test_workers_that_die_during_a_trial_are_counted(
    tmp_path: Path, when: str, deaths: int
) -> None:
    for _ in range(2):
        killed(tmp_path, activation(2), when)
    record = TrialRecord(tmp_path)
    assert record.deaths(activation(2)) == deaths
    assert record.deaths(activation(3)) == 0
    assert record.deaths(activation(2, sha="b")) == 0


def test_a_worker_that_lives_is_not_dead(tmp_path: Path) -> None:
    record = TrialRecord(tmp_path)
    record.begin(activation(2))
    assert TrialRecord(tmp_path).deaths(activation(2)) == 0
    record.end(activation(2))
    assert TrialRecord(tmp_path).deaths(activation(2)) == 0


def test_what_is_proven_is_that_activation(tmp_path: Path) -> None:
    record = TrialRecord(tmp_path)
    for active, proven in ((activation(2), True), (activation(3), False)):
        record.begin(active)
        record.end(active, proven)
    found = [activation(2), activation(3), activation(2, sha="b")]
    assert [TrialRecord(tmp_path).is_proven(active) for active in found] == [True, False, False]


def test_a_disk_that_takes_nothing_stops_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = TrialRecord(tmp_path)
    (tmp_path / "engines").rmdir()
    record.begin(activation(2))
    record.end(activation(2), proven=True)
    assert record.deaths(activation(2)) == 0
    assert not record.is_proven(activation(2))

"""The faults that every run of the tests plays, and the proof that the table can tell a fault."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline import warm_up
from pipeline.checkpoints import local_path, newest_first
from tests.chaos.conftest import Acted
from tests.chaos.play import Play
from tests.chaos.stage import TASKMANAGERS, Ranking, Stage
from tests.chaos.verdict import Evidence, judged
from tests.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


def test_a_new_cluster_is_warm(stage: Stage) -> None:
    """Before any job of a user: each TaskManager has decoded, folded and ranked."""
    assert stage.started["free_slots"] == TASKMANAGERS
    # Every made-up event is a good one; an order is none.
    assert stage.warm_up == Ranking("FINISHED", warm_up.EVENTS * TASKMANAGERS, TASKMANAGERS)


@pytest.fixture(scope="module")
def killed(stage: Stage, acted: Acted) -> Play:
    with acted(stage, "kill -9 of a TaskManager") as play:
        play.reach()
        busy = stage.busy()
        assert stage.workers(busy)
        stage.kill(busy)
        until(lambda: not stage.left_of(busy), "end of the Python workers of the killed one")
    return play


def test_a_spare_taskmanager_takes_over(killed: Play) -> None:
    assert killed.evidence is not None
    assert len(killed.evidence.states) > 500


def test_negative_control_a_lost_a_wrong_and_an_extra_list_are_told(killed: Play) -> None:
    evidence = found(killed)
    place, state = evidence.lists[1000]
    others = [one for one in evidence.lists if one[0] != place]
    assert judged("", 0, evidence.but(lists=others)).lists_lost == 1
    for wrong in (
        state._replace(version=state.version + 1),
        state._replace(events_digest=bytes(16)),
        state._replace(profile_hash=bytes(16)),
    ):
        row = judged("", 0, evidence.but(lists=[*others, (place, wrong)]))
        assert (row.lists_lost, row.outcomes_wrong) == (0, 1)
    nowhere = place._replace(offset=10**9)
    row = judged("", 0, evidence.but(lists=[*evidence.lists, (nowhere, state)]))
    assert row.outcomes_wrong == 1
    row = judged("", 0, evidence.but(lists=[*others, (place, state), (place, state)]))
    assert row.right
    assert row.lists_doubled == judged("", 0, evidence.but(lists=others)).lists_doubled + 1


def test_negative_control_a_lost_a_wrong_and_a_second_outcome_are_told(killed: Play) -> None:
    evidence = found(killed)
    place, outcome = evidence.written[1000]
    others = [one for one in evidence.written if one[0] != place]
    other = "late" if outcome != "late" else "applied"
    for written in (others, [*others, (place, other)], [*evidence.written, (place, other)]):
        assert judged("", 0, evidence.but(written=written)).outcomes_wrong == 1


def found(play: Play) -> Evidence:
    assert play.evidence is not None
    return play.evidence


def test_stopped_with_a_savepoint_and_resumed_with_more_tasks(stage: Stage, acted: Acted) -> None:
    with acted(stage, "stop with a savepoint, resume with 2 tasks") as play:
        refused = play.try_to_submit()
        assert refused.exit_code == 8
        assert refused.result["received"] == f"{play.job_id}, RUNNING"
        play.reach()
        stopped = play.stop("--savepoint")
        assert stopped["state"] == "FINISHED"
        resumed = play.submit("--from-savepoint", stopped["savepoint"], parallelism=2)
        assert local_path(resumed["restored_from"]) == local_path(stopped["savepoint"])


def test_a_truncated_checkpoint_is_told_and_an_older_one_works(stage: Stage, acted: Acted) -> None:
    with acted(stage, "newest checkpoint truncated, resume from an older one") as play:
        play.reach(checkpoints=3)
        play.stop()
        truncate(newest_first(play.settings)[0] / "_metadata")
        resume_from_an_older_one(play)


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def resume_from_an_older_one(play: Play) -> None:
    """The newest is refused, with one that works in the advice."""
    spoilt = newest_first(play.settings)[0].as_uri()
    told = play.try_to_submit("--from-checkpoint", "latest")
    assert (told.exit_code, told.result["error"]) == (8, "FlinkError")
    assert spoilt in told.result["expected"]
    assert "Exception" in told.result["received"]
    option, older = told.result["fix"].partition(";")[0].split()
    assert option == "--from-checkpoint"
    assert older != spoilt
    assert play.submit(option, older)["restored_from"] == older


def test_exactly_once_with_a_kill_between_two_checkpoints(stage: Stage, acted: Acted) -> None:
    values = {"job.delivery": "exactly-once", "job.checkpoint_interval_ms": 2000}
    with acted(stage, "exactly-once, kill -9 between two checkpoints", **values) as play:
        play.after_a_checkpoint()
        stage.kill(stage.busy())
    each_list_is_there_once(play)


def each_list_is_there_once(play: Play) -> None:
    places = [place for place, _ in found(play).lists]
    assert len(set(places)) == len(places)

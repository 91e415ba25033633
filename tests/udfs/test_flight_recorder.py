"""Workers that die amid a batch, as processes of their own: who is found, and who is not."""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.udfs.requests import packed_request, profile_with
from udfs.flight_recorder import FlightRecorder, strikes_folder
from udfs.ranker import Answers, Rank, answer, answer_recorded
from udfs.request import EVENT, Action, Requests

N = 3
Answer = Callable[[Sequence[str], Requests, Rank], Answers]


def requests_at(offsets: Sequence[int], cause: int = EVENT) -> Requests:
    """Requests of records of partition 1."""
    profile = profile_with()
    return Requests.unpack(
        [packed_request(profile, cause=cause, partition=1, offset=offset) for offset in offsets]
    )


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def segfault() -> None:
    faulthandler.disable()
    ctypes.string_at(0)


def engine(killers: set[int], die: Callable[[], None] = killed) -> Rank:
    """Its list is the offset; dies of the killers."""

    def rank(users: Sequence[str], requests: Requests) -> list[bytes]:
        offsets = requests.heads["source_offset"].tolist()
        if killers.intersection(offsets):
            die()
        return [str(offset).encode() for offset in offsets]

    return rank


def recorded(folder: Path) -> Answer:
    recorder = FlightRecorder(folder)
    return lambda users, requests, rank: answer_recorded(recorder, users, requests, rank, "every")


def unrecorded(folder: Path) -> Answer:
    return partial(answer, emit="every")


def survives(
    folder: Path, batches: Sequence[Sequence[int]], rank: Rank, open_: Callable[[Path], Answer]
) -> bool:
    """Whether a worker, a process of its own, gets through the batches."""
    child = os.fork()
    if not child:
        status = 1
        try:
            ask = open_(folder)
            for offsets in batches:
                answers = ask(["u"] * len(offsets), requests_at(offsets), rank)
                assert answers.values == [str(offset).encode() for offset in offsets]
                assert set(answers.actions.tolist()) <= {Action.LIST}
            status = 0
        finally:
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFEXITED(status)


def failures(folder: Path) -> dict[int, int]:
    """Offset → failures in a row."""
    found = {}
    for file in strikes_folder(folder).glob("*"):
        strikes = [json.loads(line) for line in file.read_text().splitlines()]
        assert {(s["where"], s["stage"], s["partition"]) for s in strikes} == {
            ("rank", "events", 1)
        }
        found[strikes[0]["offset"]] = len(strikes)
    return found


def quarantined(folder: Path) -> set[int]:
    return {offset for offset, count in failures(folder).items() if count >= N}


def run_job(
    folder: Path,
    workers: Sequence[Sequence[Sequence[int]]],
    rank: Rank,
    open_: Callable[[Path], Answer] = recorded,
    most: int = 10,
) -> int:
    """Run the workers, without what is quarantined, until all survive; how often that failed."""
    for crashes in range(most):
        out = quarantined(folder)
        left = [
            [[offset for offset in batch if offset not in out] for batch in batches]
            for batches in workers
        ]
        survived = [survives(folder, batches, rank, open_) for batches in left]
        if all(survived):
            return crashes
    return most


@st.composite
def jobs(draw: st.DrawFn) -> tuple[list[list[list[int]]], int]:
    """The batches of one or two workers, and an offset among them."""
    count = draw(st.integers(1, 40))
    owners = draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    cuts = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    workers: list[list[list[int]]] = [[[]], [[]]]
    for offset, (owner, cut) in enumerate(zip(owners, cuts, strict=True)):
        if cut:
            workers[owner].append([])
        workers[owner][-1].append(offset)
    return workers, draw(st.integers(0, count - 1))


@settings(max_examples=40, deadline=None)
@given(jobs())
def test_whatever_the_batches_the_killer_alone_is_found_after_n_failures(
    job: tuple[list[list[list[int]]], int],
) -> None:
    workers, killer = job
    with TemporaryDirectory() as folder:
        assert run_job(Path(folder), workers, engine({killer})) == N
        assert failures(Path(folder)) == {killer: N}


def test_a_segmentation_fault_is_found_alike(tmp_path: Path) -> None:
    assert run_job(tmp_path, [[range(5), range(5, 9)]], engine({6}, segfault)) == N
    assert failures(tmp_path) == {6: N}


def test_two_killers_in_a_batch_are_found_one_after_the_other(tmp_path: Path) -> None:
    """The second one has been a suspect ever since the first failure."""
    assert run_job(tmp_path, [[range(9)]], engine({3, 5})) == N + N - 1
    assert quarantined(tmp_path) == {3, 5}


def test_negative_control_without_a_recorder_it_is_never_found(tmp_path: Path) -> None:
    assert run_job(tmp_path, [[range(9)]], engine({4}), unrecorded) == 10
    assert failures(tmp_path) == {}


def test_negative_control_one_failure_less_is_not_enough(tmp_path: Path) -> None:
    for _ in range(N - 1):
        assert not survives(tmp_path, [range(9)], engine({4}), recorded)
    assert quarantined(tmp_path) == set()
    assert failures(tmp_path)[4] == N - 1
    assert survives(tmp_path, [range(9)], engine(set()), recorded)
    assert failures(tmp_path) == {}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=N - 1, max_size=N - 1))
def test_workers_killed_from_outside_leave_suspects_that_pass(calls: list[int]) -> None:
    """Each worker dies at some call of the engine, whatever it is asked."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        batches = [range(4), range(4, 8), range(8, 12)]
        for deadly_call in calls:
            survives(folder, batches, dying_at(deadly_call), recorded)
        assert quarantined(folder) == set()
        assert survives(folder, batches, engine(set()), recorded)
        assert failures(folder) == {}


def dying_at(deadly_call: int) -> Rank:
    healthy = engine(set())
    calls = 0

    def rank(users: Sequence[str], requests: Requests) -> list[bytes]:
        nonlocal calls
        calls += 1
        if calls == deadly_call:
            killed()
        return healthy(users, requests)

    return rank


def test_the_note_of_a_living_worker_is_left_alone(tmp_path: Path) -> None:
    busy = FlightRecorder(tmp_path)
    with busy.flight(requests_at([1, 2])):
        FlightRecorder(tmp_path).close()
        assert failures(tmp_path) == {}
    busy.close()
    assert not list((tmp_path / "in-flight").iterdir())


def test_an_exception_counts_as_a_failure(tmp_path: Path) -> None:
    recorder = FlightRecorder(tmp_path)
    with pytest.raises(ZeroDivisionError), recorder.flight(requests_at([1, 2])):
        raise ZeroDivisionError
    recorder.close()
    FlightRecorder(tmp_path).close()
    assert failures(tmp_path) == {1: 1, 2: 1}


def test_suspects_that_lie_behind_are_forgotten(tmp_path: Path) -> None:
    """Those of other workers, and dead letters, cost nothing in the long run."""
    assert not survives(tmp_path, [[5, 9]], engine({5}), recorded)
    recorder = FlightRecorder(tmp_path)
    assert recorder.suspects_of(requests_at([4, 6])) == []
    assert recorder.suspects_of(requests_at([5, 9])) == [1]
    recorder.close()


def test_orders_and_events_at_the_same_offset_are_two(tmp_path: Path) -> None:
    assert not survives(tmp_path, [[5]], engine({5}), recorded)
    recorder = FlightRecorder(tmp_path)
    order = requests_at([5], cause=0)
    assert recorder.suspects_of(order) == []
    recorder.close()

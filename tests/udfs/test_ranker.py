"""Every request of a batch gets its answer, whatever its neighbours do."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.udfs.requests import packed_request, profile_with
from udfs.ranker import Answers, answer
from udfs.request import Action, Requests

LIST, TOMBSTONE, NONE = Action.LIST, Action.TOMBSTONE, Action.NONE
BAD = 13


def asked(*given: tuple[str, Action, int]) -> tuple[list[str], Requests]:
    """Requests of (user, action, version), with offsets 0, 1, 2, …"""
    packed = [
        packed_request(profile_with(version=version), action, offset=offset)
        for offset, (_, action, version) in enumerate(given)
    ]
    return [user for user, *_ in given], Requests.unpack(packed)


def echo(users: Sequence[str], requests: Requests) -> list[bytes]:
    """An engine whose list is user and version; chokes on the version BAD."""
    versions = requests.heads["profile"]["version"].tolist()
    if BAD in versions:
        raise ValueError("bad profile")
    return [f"{user}{version}".encode() for user, version in zip(users, versions, strict=True)]


def answered(*given: tuple[str, Action, int], emit: str = "latest") -> Answers:
    return answer(*asked(*given), echo, emit)


def test_latest_ranks_only_the_newest_profile_of_each_user():
    answers = answered(("a", LIST, 1), ("b", LIST, 1), ("a", LIST, 2))
    assert answers.actions.tolist() == [Action.SUPERSEDED, LIST, LIST]
    assert answers.values == [None, b"b1", b"a2"]


def test_every_ranks_each_profile():
    assert answered(("a", LIST, 1), ("a", LIST, 2), emit="every").values == [b"a1", b"a2"]


def test_a_tombstone_outdates_an_earlier_list_and_is_never_outdated_itself():
    answers = answered(("a", LIST, 1), ("a", TOMBSTONE, 0), ("a", LIST, 2))
    assert answers.actions.tolist() == [Action.SUPERSEDED, TOMBSTONE, LIST]
    assert answers.values == [None, None, b"a2"]


@pytest.mark.parametrize("place", [0, 3, 6])
def test_a_request_that_fails_alone_is_found_and_the_rest_goes_on(place, caplog):
    given = [(f"user-{at}", LIST, BAD if at == place else 1) for at in range(7)]
    answers = answered(*given)
    assert [a == Action.FAILED for a in answers.actions] == [at == place for at in range(7)]
    assert [value is None for value in answers.values] == [at == place for at in range(7)]
    assert f"partition=0 offset={place}: ValueError: bad profile" in caplog.text


def test_an_empty_batch_has_no_answers():
    assert answered().actions.tolist() == []


def test_a_batch_of_tombstones_never_asks_the_engine():
    def untouchable(users: Sequence[str], requests: Requests) -> list[bytes]:
        raise AssertionError("the engine was asked")

    answers = answer(*asked(("a", TOMBSTONE, 0)), untouchable, "latest")
    assert answers.actions.tolist() == [TOMBSTONE]


def test_a_row_for_the_audit_only_outdates_nothing():
    answers = answered(("a", LIST, 1), ("a", NONE, 1))
    assert answers.actions.tolist() == [LIST, NONE]
    assert answers.values == [b"a1", None]

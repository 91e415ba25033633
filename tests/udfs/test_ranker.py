"""Every row of a batch gets its answer, whatever its neighbours do."""

from __future__ import annotations

import pandas as pd
import pytest

from udfs.ranker import COLUMNS, answer


def rows(*given: tuple[str, str, bytes | None]) -> pd.DataFrame:
    """Rows of (user, action, profile), with offsets 0, 1, 2, …"""
    return pd.DataFrame(
        [
            (user, action, profile, "event", 1000 + at, 0, at)
            for at, (user, action, profile) in enumerate(given)
        ],
        columns=list(COLUMNS),
    )


def echo(batch: pd.DataFrame) -> list[bytes]:
    """An engine whose list is the profile; chokes on the profile ``bad``."""
    if b"bad" in set(batch["profile"]):
        raise ValueError("bad profile")
    return list(batch["profile"])


def test_latest_ranks_only_the_newest_profile_of_each_user():
    batch = rows(("a", "list", b"a1"), ("b", "list", b"b1"), ("a", "list", b"a2"))
    answers = answer(batch, echo, "latest")
    assert answers.actions == ["superseded", "list", "list"]
    assert answers.values == [None, b"b1", b"a2"]


def test_every_ranks_each_profile():
    batch = rows(("a", "list", b"a1"), ("a", "list", b"a2"))
    answers = answer(batch, echo, "every")
    assert answers.values == [b"a1", b"a2"]


def test_a_tombstone_outdates_an_earlier_list_and_is_never_outdated_itself():
    batch = rows(("a", "list", b"a1"), ("a", "tombstone", None), ("a", "list", b"a2"))
    answers = answer(batch, echo, "latest")
    assert answers.actions == ["superseded", "tombstone", "list"]
    assert answers.values == [None, None, b"a2"]


@pytest.mark.parametrize("place", [0, 3, 6])
def test_a_row_that_fails_alone_is_found_and_the_rest_goes_on(place, caplog):
    profiles = [b"good"] * 7
    profiles[place] = b"bad"
    batch = rows(*((f"user-{at}", "list", profile) for at, profile in enumerate(profiles)))
    answers = answer(batch, echo, "latest")
    assert [a == "failed" for a in answers.actions] == [at == place for at in range(7)]
    assert answers.values[place] is None
    assert answers.errors[place] == "ValueError: bad profile"
    assert f"partition=0 offset={place}" in caplog.text


def test_an_empty_batch_has_no_answers():
    assert answer(rows(), echo, "latest").actions == []


def test_a_batch_of_tombstones_never_asks_the_engine():
    def untouchable(batch: pd.DataFrame) -> list[bytes]:
        raise AssertionError("the engine was asked")

    answers = answer(rows(("a", "tombstone", None)), untouchable, "latest")
    assert answers.actions == ["tombstone"]


def test_a_row_for_the_audit_only_outdates_nothing():
    answers = answer(rows(("a", "list", b"a1"), ("a", "none", None)), echo, "latest")
    assert answers.actions == ["list", "none"]

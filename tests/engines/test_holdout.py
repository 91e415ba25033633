from __future__ import annotations

import pytest

from engines.catalogue import item_hash
from engines.holdout import Holdout, by_time, leave_one_out
from engines.models.interactions import Event
from schemas.errors import EngineError
from tests.engines.examples import CLICK

PURCHASE, DISLIKE, HIDE, RETURN = 5, 9, 10, 6


def of_one_user(*steps: tuple[str, int]) -> list[Event]:
    return [("user", item, kind, place) for place, (item, kind) in enumerate(steps)]


MIXED = of_one_user(
    ("a", CLICK), ("b", PURCHASE), ("c", HIDE), ("a", RETURN), ("d", CLICK), ("e", DISLIKE)
)


def hashes(items: str) -> list[int]:
    return [item_hash(item) for item in items]


def test_what_was_bought_disliked_or_hidden_before_is_excluded() -> None:
    held = leave_one_out(MIXED)
    assert held.target_ids == ["d"]
    assert [item for item, _, _ in held.histories[0]] == hashes("ab")
    assert held.excluded == [hashes("bc")]  # e was disliked after it
    assert [item for _, item, _, _ in held.log] == ["a"]


def test_by_time_excludes_by_what_was_before() -> None:
    held = by_time(MIXED, 2)
    assert (held.target_ids, held.excluded) == (["d"], [hashes("b")])
    assert [item for _, item, _, _ in held.log] == ["a", "b"]


def test_a_user_who_only_hid_items_is_not_tested() -> None:
    with pytest.raises(EngineError, match="no user to test on"):
        by_time(of_one_user(("a", HIDE), ("b", CLICK)), 1)
    with pytest.raises(EngineError, match="no user to test on"):
        leave_one_out(of_one_user(("a", HIDE), ("b", CLICK)))


def test_the_newest_64_distinct_items_stay_excluded() -> None:
    bought = [(str(number), PURCHASE) for number in range(70)]
    again = ("69", PURCHASE), ("0", PURCHASE)  # one that is still there, one that was pushed out
    held = leave_one_out(of_one_user(*bought, *again, ("x", CLICK)))
    assert held.excluded == [[item_hash(str(number)) for number in (*range(7, 70), 0)]]


def sampled(held: Holdout, users: int, seed: int) -> list[str]:
    part = held.sample(users, seed)
    assert len(part.histories) == len(part.excluded) == len(part.target_ids) == users
    return part.target_ids


def test_a_sample_is_of_different_users_by_its_seed() -> None:
    log = [(f"user-{n}", item, CLICK, 0) for n in range(30) for item in ("a", f"target-{n}")]
    held = leave_one_out(log)
    first = sampled(held, 10, seed=1)
    assert len(set(first)) == 10
    assert first == sampled(held, 10, seed=1) != sampled(held, 10, seed=2)
    assert held.sample(30, seed=1) is held

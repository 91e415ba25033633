"""Items that the log has never met are found by what is known of them, or not at all."""

from __future__ import annotations

import pytest

from engines.cold import cold_start
from engines.holdout import leave_one_out
from engines.models.plan import Plan, Shape
from schemas.errors import EngineError
from tests.engines.examples import CLICK

PLAN = Plan(shape=Shape.of_width(16))
SHELVES = [[f"{shelf}-{number}" for number in range(10)] for shelf in "abcdefghij"]
TITLES = {item: {"title": f"shelf {item[0]}"} for shelf in SHELVES for item in shelf}
# Each user goes along one shelf.
LOG = [
    (f"user-{user}", SHELVES[user % 10][(user // 10 + place) % 10], CLICK, place)
    for user in range(300)
    for place in range(7)
]


def test_an_item_is_found_by_its_attributes() -> None:
    told: list[int] = []
    found = cold_start("content", leave_one_out(LOG), 0.2, PLAN, TITLES, told.append)
    assert found["cold_items"] == 20
    assert found["items"] == 100
    assert 0 < found["users"] < 300
    rates = found["hit_rate@10"]
    assert rates["random"] == pytest.approx(0.1)
    assert rates["all"] > 5 * rates["random"]
    among = found["hit_rate@10_among_cold_items"]
    assert among["cold"] > among["random"] == 0.5
    assert told[-1] == found["users"]


def test_attributes_that_say_nothing_find_nothing() -> None:
    shuffled = {item: {"title": f"shelf {place % 7}"} for place, item in enumerate(TITLES)}
    found = cold_start("content", leave_one_out(LOG), 0.2, PLAN, shuffled)
    honest = cold_start("content", leave_one_out(LOG), 0.2, PLAN, TITLES)
    assert found["hit_rate@10"]["all"] < honest["hit_rate@10"]["all"] / 2


def test_a_model_without_attributes_never_lists_them() -> None:
    found = cold_start("cooccurrence", leave_one_out(LOG), 0.2, PLAN, TITLES)
    assert found["hit_rate@10"]["all"] == 0


def test_without_any_attribute_it_says_so() -> None:
    with pytest.raises(EngineError, match="--items"):
        cold_start("content", leave_one_out(LOG), 0.2, PLAN, {})

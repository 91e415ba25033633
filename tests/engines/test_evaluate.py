from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from engines.evaluate import evaluate
from engines.holdout import leave_one_out
from engines.models.plan import Plan
from schemas.errors import EngineError
from tests.shared_data import shared_data

PURCHASE = 5
# After a always comes b, after c always d; the last two items of each user are held out of the fit.
CHAINS = [(f"u{n}", ["a", "b", "x", "y"]) for n in range(3)] + [
    (f"v{n}", ["c", "d", "x", "y"]) for n in range(3)
]


def leave_one_out_of(
    sequences: Sequence[tuple[str, Sequence[str]]],
    model: str = "cooccurrence",
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    purchases = (
        (user, item, PURCHASE, place * 1000)
        for user, items in sequences
        for place, item in enumerate(items)
    )
    return evaluate(model, leave_one_out(purchases), Plan(), progress=progress)


def test_a_rule_in_the_log_is_found() -> None:
    sequences = [*CHAINS, ("new", ["z", "c", "d"])]
    found = leave_one_out_of([*sequences, ("one", ["a"])])
    assert found["model"] == "cooccurrence"
    assert found["users"] == 7
    # x and y are in no one's fitted part, so they can never be found: only "new" hits, at place 1.
    assert found["items"] == 5
    assert found["metrics"]["hit_rate@5"] == pytest.approx(1 / 7)
    assert found["metrics"]["ndcg@10"] == pytest.approx(1 / 7)
    assert found["metrics"]["mrr"] == pytest.approx(1 / 7)


def test_seen_items_are_never_listed_again() -> None:
    found = leave_one_out_of([("u", ["a", "b", "a"]), ("w", ["a", "c", "d"])])
    assert found["metrics"]["hit_rate@20"] == 0


def test_popularity_ignores_the_history() -> None:
    sequences = [*CHAINS, ("new", ["z", "c", "d"])]
    by_popularity = leave_one_out_of(sequences, "popularity")["metrics"]
    assert by_popularity["mrr"] < leave_one_out_of(sequences)["metrics"]["mrr"]


def test_it_gives_the_same_figures_again_and_reports_progress() -> None:
    told: list[int] = []
    first = leave_one_out_of(CHAINS, progress=told.append)
    assert first == leave_one_out_of(CHAINS)
    assert told == [6]


def test_what_cannot_be_evaluated_is_an_error() -> None:
    with pytest.raises(EngineError, match=r"no such model[\s\S]*cooccurrence[\s\S]*fix"):
        leave_one_out_of(CHAINS, "magic")
    with pytest.raises(EngineError, match="no user to test on"):
        leave_one_out_of([("u", ["a"])])
    with pytest.raises(EngineError, match="nothing to learn from"):
        leave_one_out_of([("u", ["a", "b"])])


def test_beauty_reaches_the_published_figure_of_plain_cooccurrence() -> None:
    lines = shared_data("s3rec_beauty.txt").read_text().splitlines()
    sequences = [(user, items) for user, *items in map(str.split, lines)]
    found = leave_one_out_of(sequences)
    assert found["users"] == 22_363
    assert found["metrics"]["hit_rate@10"] == pytest.approx(0.0863, abs=0.0005)
    assert found["metrics"]["ndcg@10"] == pytest.approx(0.0539, abs=0.0005)
    popular = leave_one_out_of(sequences, "popularity")
    assert popular["metrics"]["hit_rate@10"] < 0.02
    assert popular["metrics"]["novelty"] < found["metrics"]["novelty"]

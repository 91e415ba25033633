from __future__ import annotations

import pytest

from engines.evaluate import evaluate_leave_one_out
from schemas.errors import EngineError
from tests.shared_data import shared_data

# After a always comes b, after c always d; the last two items of each user are held out of the fit.
CHAINS = [(f"u{n}", ["a", "b", "x", "y"]) for n in range(3)] + [
    (f"v{n}", ["c", "d", "x", "y"]) for n in range(3)
]


def test_a_rule_in_the_log_is_found() -> None:
    sequences = [*CHAINS, ("new", ["z", "c", "d"])]
    found = evaluate_leave_one_out([*sequences, ("one", ["a"])])
    assert found["model"] == "cooccurrence"
    assert found["users"] == 7
    # x and y are in no one's fitted part, so they can never be found: only "new" hits, at place 1.
    assert found["items"] == 5
    assert found["metrics"]["hit_rate@5"] == pytest.approx(1 / 7)
    assert found["metrics"]["ndcg@10"] == pytest.approx(1 / 7)
    assert found["metrics"]["mrr"] == pytest.approx(1 / 7)


def test_seen_items_are_never_listed_again() -> None:
    found = evaluate_leave_one_out([("u", ["a", "b", "a"]), ("w", ["a", "c", "d"])])
    assert found["metrics"]["hit_rate@20"] == 0


def test_popularity_ignores_the_history() -> None:
    sequences = [*CHAINS, ("new", ["z", "c", "d"])]
    by_popularity = evaluate_leave_one_out(sequences, "popularity")["metrics"]
    assert by_popularity["mrr"] < evaluate_leave_one_out(sequences)["metrics"]["mrr"]


def test_it_gives_the_same_figures_again_and_reports_progress() -> None:
    told: list[tuple[int, int]] = []
    first = evaluate_leave_one_out(CHAINS, progress=lambda done, of: told.append((done, of)))
    assert first == evaluate_leave_one_out(CHAINS)
    assert told == [(6, 6)]


def test_what_cannot_be_evaluated_is_an_error() -> None:
    with pytest.raises(EngineError, match=r"no such model[\s\S]*cooccurrence[\s\S]*fix"):
        evaluate_leave_one_out(CHAINS, "magic")
    with pytest.raises(EngineError, match="no user to test on"):
        evaluate_leave_one_out([("u", ["a"])])
    with pytest.raises(EngineError, match="nothing to learn from"):
        evaluate_leave_one_out([("u", ["a", "b"])])


def test_beauty_reaches_the_published_figure_of_plain_cooccurrence() -> None:
    lines = shared_data("s3rec_beauty.txt").read_text().splitlines()
    sequences = [(user, items) for user, *items in map(str.split, lines)]
    found = evaluate_leave_one_out(sequences)
    assert found["users"] == 22_363
    assert found["metrics"]["hit_rate@10"] == pytest.approx(0.0863, abs=0.0005)
    assert found["metrics"]["ndcg@10"] == pytest.approx(0.0539, abs=0.0005)
    popular = evaluate_leave_one_out(sequences, "popularity")
    assert popular["metrics"]["hit_rate@10"] < 0.02
    assert popular["metrics"]["novelty"] < found["metrics"]["novelty"]

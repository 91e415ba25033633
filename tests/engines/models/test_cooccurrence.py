"""The exported graph against the formula of the docstring, written out in plain Python."""

from __future__ import annotations

from collections import defaultdict
from itertools import groupby
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.backends.base import RankedBatch
from engines.backends.onnx import OnnxBackend
from engines.catalogue import item_hash
from engines.evaluate import profiles_from_histories
from engines.models import cooccurrence
from engines.models.cooccurrence import NEIGHBOURS, WINDOW, CooccurrenceModel
from engines.models.cooccurrence_graph import DECAY, EVENT_WEIGHTS, LAST
from engines.models.interactions import Interactions
from engines.models.plan import Plan
from engines.registry import Registry
from schemas.errors import EngineError
from tests.engines.examples import CLICK, events, fit, inputs, random_model

VIEW, PURCHASE, DISLIKE, HIDE = 2, 5, 9, 10
Ranking = list[tuple[str, str]]


def rank(
    folder: Path,
    model: CooccurrenceModel,
    history: str | list[tuple[str, int]],
    excluded: str = "",
    k: int = 10,
) -> tuple[Ranking, RankedBatch]:
    """The (item, channel) pairs listed after ``history``: a string of clicks, or (item, type)."""
    bundle = Registry(folder).add(model.draft(batch=4, k=k), "test")
    typed = [(item, CLICK) if isinstance(item, str) else item for item in history]
    slots = [(item_hash(item), kind, place) for place, (item, kind) in enumerate(typed)]
    profiles = profiles_from_histories([slots], [[item_hash(item) for item in excluded]])
    with OnnxBackend(bundle) as backend:
        ranked = backend.run(inputs(profiles, bundle))
    listed = int((ranked.scores[0] > -np.inf).sum())
    ids = bundle.catalogue.item_ids[ranked.items[0, :listed]]
    names = [bundle.manifest.channels[channel] for channel in ranked.channels[0, :listed]]
    return list(zip(ids, names, strict=True)), ranked


def reference(log: list[tuple[str, str, int, int]], history: str) -> dict[str, float]:
    """What speaks for each item after ``history``, by the formula."""
    sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    users: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for user, item, _, time_ms in log:
        users[user].append((time_ms, item))
    for seen in users.values():
        ordered = [item for _, item in sorted(seen, key=lambda event: event[0])]
        path = [item for item, _ in groupby(ordered)]
        for place, item in enumerate(path):
            for distance, later in enumerate(path[place + 1 : place + 1 + WINDOW], 1):
                if later != item:
                    sums[item][later] += 1 / sqrt(distance)
    scores: dict[str, float] = defaultdict(float)
    for age, item in enumerate(reversed(history[-LAST:])):
        for later, weight in sums[item].items():
            scores[later] += DECAY**age * weight / sqrt(sum(sums[item].values()))
    return scores


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.text("abcdefgh", max_size=15), min_size=1, max_size=8).filter(any),
    st.text("abcdefghz", max_size=12),
)
def test_the_engine_scores_by_the_formula(
    tmp_path_factory: pytest.TempPathFactory, histories: list[str], history: str
) -> None:
    log = events(*histories)
    ranking, ranked = rank(tmp_path_factory.mktemp("store"), fit(log), history)
    expected = reference(log, history)
    assert len(ranking) == len({item for _, item, _, _ in log})
    for (item, channel), score in zip(ranking, ranked.scores[0], strict=False):
        # The prior adds at most half of the least part; it orders equal sums.
        assert score == pytest.approx(expected[item], rel=1e-5, abs=DECAY ** (LAST - 1))
        assert channel == ("cooccurrence" if expected[item] else "popularity")


def test_successors_come_first_then_the_popular(tmp_path: Path) -> None:
    model = fit(events("ab", "ab", "ac", "pq", "pq", "pq", "pr"))
    ranking, _ = rank(tmp_path, model, "a", k=4)
    assert ranking == [
        ("b", "cooccurrence"),
        ("c", "cooccurrence"),
        ("p", "popularity"),
        ("a", "popularity"),
    ]


def test_direction_counts(tmp_path: Path) -> None:
    ranking, _ = rank(tmp_path, fit(events("ab")), "b")
    assert {channel for _, channel in ranking} == {"popularity"}


def test_popularity_never_overtakes_the_faintest_successor(tmp_path: Path) -> None:
    # "z" came once, far behind the oldest item that counts; "p" is seen a thousand times.
    log = events("a" + "bcdefghij"[: WINDOW - 1] + "z", *["p"] * 1000)
    ranking, _ = rank(tmp_path, fit(log), "a" + "x" * (LAST - 1), k=20)
    assert [item for item, channel in ranking if channel == "cooccurrence"][-1] == "z"
    assert ranking[WINDOW] == ("p", "popularity")


def test_the_last_items_count_most_and_those_before_the_window_not_at_all(tmp_path: Path) -> None:
    model = fit(events("ab", "cd"))
    assert rank(tmp_path, model, "ac")[0][0] == ("d", "cooccurrence")
    assert rank(tmp_path, model, "ca")[0][0] == ("b", "cooccurrence")
    ranking, _ = rank(tmp_path, model, "a" + "x" * LAST)
    assert {channel for _, channel in ranking} == {"popularity"}


def test_ties_go_to_the_more_popular_then_to_the_smaller_id(tmp_path: Path) -> None:
    model = fit(events("ax", "ab", "ac", "x"))
    ranking, _ = rank(tmp_path, model, "a")
    assert [item for item, _ in ranking] == ["x", "b", "c", "a"]
    ranking, _ = rank(tmp_path, model, "")
    assert [item for item, _ in ranking] == ["a", "x", "b", "c"]


def test_excluded_items_are_left_out(tmp_path: Path) -> None:
    ranking, _ = rank(tmp_path, fit(events("ab", "ab", "ac")), "a", excluded="ba")
    assert ranking == [("c", "cooccurrence")]


def test_all_items_excluded_make_an_empty_list(tmp_path: Path) -> None:
    ranking, ranked = rank(tmp_path, fit(events("ab")), "a", excluded="ab")
    assert ranking == []
    assert not ranked.items.any()


def test_dislikes_speak_for_nothing(tmp_path: Path) -> None:
    model = fit(events("ab", "cd"))
    ranking, _ = rank(tmp_path, model, [("c", VIEW), ("a", DISLIKE), ("a", HIDE)])
    assert ranking[0] == ("d", "cooccurrence")
    assert [channel for _, channel in ranking].count("cooccurrence") == 1
    assert len(fit([("u", "a", CLICK, 0), ("u", "b", DISLIKE, 1)]).catalogue) == 1


def test_every_event_type_has_a_weight() -> None:
    assert EVENT_WEIGHTS.tolist() == [0, 0, 1, 1, 1, 1, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0]


def test_fewer_items_than_k_end_the_list(tmp_path: Path) -> None:
    ranking, ranked = rank(tmp_path, fit(events("ab", "c")), "a", k=8)
    assert [item for item, _ in ranking] == ["b", "a", "c"]
    assert np.isneginf(ranked.scores[0, 3:]).all()
    assert not ranked.items[0, 3:].any()


def test_one_user_and_one_item_make_an_engine(tmp_path: Path) -> None:
    ranking, _ = rank(tmp_path, fit(events("a")), "a")
    assert ranking == [("a", "popularity")]


@pytest.mark.parametrize("log", [[], [("u", "a", DISLIKE, 0)]])
def test_a_log_that_speaks_for_nothing_is_an_error(log: list[tuple[str, str, int, int]]) -> None:
    with pytest.raises(EngineError, match="nothing to learn from"):
        fit(log)


def test_events_are_taken_by_time_not_by_arrival() -> None:
    log = events("abc", "bca", "cd")
    assert fit(log).draft().model == fit(log[::-1]).draft().model


def test_equal_times_are_taken_by_arrival() -> None:
    together = fit([("u", "a", CLICK, 7), ("u", "b", CLICK, 7)])
    assert together.weights.tolist() == fit(events("ab")).weights.tolist()
    assert together.neighbours.tolist() == [[0], [2], [0]]


def test_repeats_do_not_use_up_the_window() -> None:
    repeated = fit([("u", "a", CLICK, t) for t in range(WINDOW + 1)] + [("u", "b", CLICK, 99)])
    assert repeated.weights.tolist() == fit(events("ab")).weights.tolist()


def test_a_small_memory_gives_the_same_model(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = random_model(30)
    monkeypatch.setattr(cooccurrence, "MAX_PENDING", 7 * WINDOW)
    parts = random_model(30)
    assert (whole.neighbours == parts.neighbours).all()
    np.testing.assert_allclose(whole.weights, parts.weights, rtol=1e-6)


def test_only_the_heaviest_successors_are_kept() -> None:
    model = random_model(NEIGHBOURS + 40, users=2000)
    assert model.neighbours.shape == (NEIGHBOURS + 41, NEIGHBOURS)
    assert (np.diff(model.weights, axis=1) <= 0).all()
    assert not model.neighbours[0].any()


def test_the_manifest_tells_the_training_log() -> None:
    training = fit(events("ab", "c"), name="clicks.txt").training
    assert training.model_dump() == {
        "log": "clicks.txt",
        "events": 3,
        "users": 2,
        "first_event_time": 0,
        "last_event_time": 1000,
    }


def test_what_judges_others_is_learnt() -> None:
    log = Interactions.read([("a", "x", CLICK, 0), ("a", "y", CLICK, 9)])
    whole, with_plan = cooccurrence.fit(log), cooccurrence.fit(log, Plan(validate_from_ms=5))
    assert whole.weights.tobytes() == with_plan.weights.tobytes()
    assert whole.weights.any()

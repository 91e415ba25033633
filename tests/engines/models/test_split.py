"""What judges a fit is no part of it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engines.models.interactions import Interactions
from engines.models.split import SHARE, Split
from tests.engines.examples import events

LOGS = st.lists(st.text("abcdefgh", max_size=12), min_size=1, max_size=30).filter(any)


def check(split: Split) -> None:
    """Every judged event comes right after all that was fitted of its user."""
    fitted = list(zip(split.train.user, split.train.time_ms, strict=True))
    for place in split.judged:
        user, time_ms = split.whole.user[place], split.whole.time_ms[place]
        own = [time for other, time in fitted if other == user]
        assert own
        assert max(own) < time_ms
        before = split.whole.time_ms[(split.whole.user == user) & (split.whole.time_ms < time_ms)]
        assert sorted(own) == sorted(before)
    assert len(set(split.whole.user[split.judged])) == len(split.judged)


@given(LOGS, st.integers(0, 3))
def test_the_newest_events_of_some_users_are_held_out(log: list[str], seed: int) -> None:
    whole = Interactions.read(events(*log))
    split = Split.by_last(whole, seed)
    check(split)
    long = sum(len(history) >= 3 for history in log)
    assert len(split.judged) == long // SHARE
    assert len(split.train.user) == len(whole.user) - len(split.judged)


@given(LOGS, st.integers(0, 12))
def test_all_that_comes_after_a_time_is_held_out(log: list[str], second: int) -> None:
    whole = Interactions.read(events(*log))
    split = Split.by_time(whole, second * 1000)
    check(split)
    assert (split.train.time_ms < second * 1000).all()
    assert len(split.train.user) == (whole.time_ms < second * 1000).sum()
    both = [history for history in log if 0 < second < len(history)]
    assert len(split.judged) == len(both)


def test_another_seed_holds_out_other_users() -> None:
    whole = Interactions.read(events(*["abcd"] * 100))
    chosen = [Split.by_last(whole, seed).judged.tolist() for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_popularity_is_of_what_is_fitted() -> None:
    split = Split.by_time(Interactions.read(events("aab", "ab")), 1000)
    index = {item: place for place, item in enumerate(split.whole.catalogue.item_ids)}
    assert split.train.popularity[index["a"]] == 2
    assert split.train.popularity[index["b"]] == 0
    assert np.isclose(split.train.popularity.sum(), 2)

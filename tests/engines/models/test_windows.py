"""Every event but a user's first is a target once, after those that came before it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.catalogue import item_hash
from engines.evaluate import profiles_from_histories
from engines.features import Histories, features
from engines.models.interactions import Interactions
from engines.models.windows import Batch, Windows
from tests.engines.examples import CLICK, events

LOGS = st.lists(st.text("abcdefgh", max_size=12), min_size=1, max_size=6).filter(any)


def windows_of(*histories: str, slots: int = 3) -> Windows:
    return Windows.of(Interactions.read(events(*histories)), slots)


def shown(batch: Batch, windows: Windows) -> list[tuple[str, str]]:
    """Each window as the ids of its events and of its targets."""
    ids = windows.seen.catalogue.item_ids
    return [
        ("".join(ids[row[row > 0]]), "".join(ids[after[after > 0]]))
        for row, after in zip(batch.features["item"], batch.target, strict=True)
    ]


def test_the_picture() -> None:
    windows = windows_of("abcdefg", "x", "hi")
    assert shown(windows.batch(np.arange(len(windows))), windows) == [
        ("abc", "bcd"),
        ("def", "efg"),
        ("h", "i"),
    ]


@settings(max_examples=50, deadline=None)
@given(LOGS, st.integers(1, 5), st.integers(1, 20), st.integers(0, 3))
def test_every_event_but_the_first_is_a_target_once(
    histories: list[str], slots: int, size: int, seed: int
) -> None:
    windows = windows_of(*histories, slots=slots)
    batches = [windows.batch(rows) for rows in windows.groups(size, np.random.default_rng(seed))]
    pairs = [
        pair
        for batch in batches
        for row, after in shown(batch, windows)
        for pair in zip(row, after, strict=True)
    ]
    expected = [pair for history in histories for pair in pairwise(history)]
    assert sorted(pairs) == sorted(expected)
    assert all(batch.target.size <= max(size, slots) for batch in batches)


def test_equal_chance_gives_equal_batches_and_other_chance_others() -> None:
    windows = windows_of(*["abcdefgh"] * 9, "ab", "abc")

    def order(seed: int) -> list[bytes]:
        return [rows.tobytes() for rows in windows.groups(6, np.random.default_rng(seed))]

    assert order(1) == order(1) != order(2)


def test_a_window_shows_what_serving_shows_of_the_same_events() -> None:
    windows = windows_of("abca", "cb", slots=5)
    batch = windows.batch(np.arange(2))
    profiles = profiles_from_histories(
        [
            [(item_hash(item), CLICK, place * 1000) for place, item in enumerate(seen)]
            for seen in ("abc", "c")
        ]
    )
    served = features(Histories.of(profiles, slots=3), windows.seen.catalogue)
    for name, tensor in batch.features.items():
        assert tensor.dtype == served[name].dtype
        if name != "excluded":  # in training nothing is
            assert tensor.tolist() == served[name].tolist()


def test_long_windows_do_not_come_before_short_ones() -> None:
    windows = windows_of(*["abcd"] * 5, *["abc"] * 5, *["ab"] * 5)
    groups = windows.groups(3, np.random.default_rng(1))
    widths = [windows.batch(rows).target.shape[1] for rows in groups]
    assert sorted(widths) != widths != sorted(widths, reverse=True)


def test_looking_ahead_stays_in_the_window_and_prefers_what_is_near() -> None:
    windows = windows_of("abcdefghijklmnop", "ba", slots=12)
    batch = windows.batch(np.arange(len(windows)))
    chance = np.random.default_rng(0)
    further = {1: 0, 2: 0, 9: 0}
    for _ in range(2000):
        later = batch.looking_ahead(1.0, chance)
        assert later.features is batch.features
        assert ((later.target > 0) == (batch.target > 0)).all()
        for row, after in zip(batch.target, later.target, strict=True):
            assert set(after[row > 0]) <= set(row[row > 0])
            assert after[-1] == row[-1]
        for distance in further:
            further[distance] += later.target[0, 0] == batch.target[0, distance - 1]
    assert further[2] / further[1] == pytest.approx(2**-0.5, abs=0.1)
    assert further[9] / further[1] == pytest.approx(1 / 3, abs=0.1)
    assert (batch.looking_ahead(0.0, chance).target == batch.target).all()

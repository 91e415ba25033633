from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.catalogue import Catalogue, item_hash
from engines.evaluate import profiles_from_histories
from engines.features import FEATURES, Histories, features
from schemas.profile import PROFILE_DTYPE

NAMES = ["a", "b", "c", "d", "e"]
CATALOGUE = Catalogue.build(NAMES, [5, 4, 3, 2, 1])
HASH = {name: item_hash(name) for name in [*NAMES, "unknown"]}


def test_the_newest_event_is_the_last_column() -> None:
    history = [(HASH["a"], 2, 1_000), (HASH["unknown"], 3, 3_500), (HASH["c"], 5, 61_000)]
    found = features(
        Histories.of(profiles_from_histories([history], [[HASH["e"], HASH["b"]]])), CATALOGUE
    )
    assert found["item"][0, -4:].tolist() == [0, 1, 0, 3]
    assert found["event_type"][0, -4:].tolist() == [0, 2, 3, 5]
    assert found["gap_s"][0, -4:].tolist() == [0, 60, 57.5, 0]
    assert found["excluded"][0, :3].tolist() == [5, 2, 0]


def test_shapes_and_dtypes_are_as_promised() -> None:
    found = features(Histories.of(np.zeros(7, PROFILE_DTYPE)), CATALOGUE)
    assert {name: str(tensor.dtype) for name, tensor in found.items()} == FEATURES
    assert [found[name].shape for name in FEATURES] == [(7, 50), (7, 50), (7, 50), (7, 64)]
    assert not any(tensor.any() for tensor in found.values())


def test_no_profiles_make_no_rows() -> None:
    found = features(Histories.of(np.zeros(0, PROFILE_DTYPE)), CATALOGUE)
    assert [len(tensor) for tensor in found.values()] == [0, 0, 0, 0]


def test_profiles_may_come_straight_from_bytes() -> None:
    profiles = profiles_from_histories([[(HASH["b"], 3, 5)]])
    again = np.frombuffer(profiles.astype(PROFILE_DTYPE).tobytes(), PROFILE_DTYPE)
    assert features(Histories.of(again), CATALOGUE)["item"][0, -1] == 2


def test_an_event_type_from_the_future_is_unknown() -> None:
    found = features(Histories.of(profiles_from_histories([[(HASH["a"], 200, 0)]])), CATALOGUE)
    assert found["event_type"][0, -1] == 0


def test_the_width_is_that_of_the_profiles() -> None:
    wide = profiles_from_histories([[]], [[HASH["a"]] * 100], excluded_slots=100)
    assert features(Histories.of(wide), CATALOGUE)["excluded"].tolist() == [[1] * 100]


def test_only_the_last_fifty_events_are_kept() -> None:
    long = [(HASH[NAMES[place % 5]], 3, place * 1000) for place in range(60)]
    found = features(Histories.of(profiles_from_histories([long])), CATALOGUE)
    assert found["gap_s"][0].tolist() == list(range(49, -1, -1))


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_only_as_many_as_the_engine_looks_at(slots: int) -> None:
    histories = [[(HASH[name], 3, place * 1000) for place, name in enumerate("abc")], []]
    profiles = profiles_from_histories(histories)
    every = features(Histories.of(profiles), CATALOGUE)
    found = features(Histories.of(profiles, slots), CATALOGUE)
    for name in ("item", "event_type", "gap_s"):
        assert found[name].tolist() == every[name][:, -slots:].tolist()


def test_too_many_excluded_items_are_an_error() -> None:
    with pytest.raises(ValueError, match="could not broadcast"):
        profiles_from_histories([[]], [[1, 2, 3]], excluded_slots=2)


_EVENT = st.tuples(
    st.sampled_from(sorted(HASH.values())), st.integers(0, 11), st.integers(0, 4_000_000_000_000)
)


@given(st.lists(st.lists(_EVENT, max_size=50), max_size=4))
def test_whole_arrays_give_what_a_plain_loop_gives(
    histories: list[list[tuple[int, int, int]]],
) -> None:
    found = features(Histories.of(profiles_from_histories(histories)), CATALOGUE)
    index = {HASH[name]: place for place, name in enumerate(NAMES, 1)}
    for row, history in enumerate(histories):
        pad = [0] * (50 - len(history))
        newest = history[-1][2] if history else 0
        gaps = [np.float32((newest - time_ms) / 1000) for _, _, time_ms in history]
        assert found["item"][row].tolist() == pad + [index.get(h, 0) for h, _, _ in history]
        assert found["event_type"][row].tolist() == pad + [kind for _, kind, _ in history]
        assert found["gap_s"][row].tolist() == pad + gaps

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines import catalogue
from engines.catalogue import Catalogue, _HashSlots, item_hash
from schemas.errors import EngineError


def test_items_are_found_by_their_hash() -> None:
    items = Catalogue.build(["shoe", "hat", "söck"], [9, 5, 1])
    wanted = np.array([[item_hash("hat"), item_hash("söck")], [item_hash("shoe"), 0]], np.uint64)
    assert items.lookup(wanted).tolist() == [[2, 3], [1, 0]]
    assert items.item_ids[[1, 2, 3]].tolist() == ["shoe", "hat", "söck"]
    assert items.popularity.tolist() == [0, 9, 5, 1]
    assert len(items) == 3


def test_the_hash_is_the_published_xxh3() -> None:
    assert item_hash("") == 0x2D06800538D394C2


def test_unknown_items_have_index_0() -> None:
    items = Catalogue.build(["shoe"], [1])
    wanted = np.array([item_hash("boat"), 0, 1, 2**64 - 1], np.uint64)
    assert items.lookup(wanted).tolist() == [0, 0, 0, 0]
    assert items.lookup(np.empty((0, 50), np.uint64)).shape == (0, 50)


def test_attributes_are_kept_and_may_be_missing() -> None:
    known = {"hat": {"title": "Hat", "price": 3.5}}
    items = Catalogue.build(["shoe", "hat"], [2, 1], known)
    assert items.titles.tolist() == [None, None, "Hat"]
    assert items.table["price"].to_pylist() == [None, 3.5]


def test_an_empty_catalogue_is_refused() -> None:
    with pytest.raises(EngineError, match="the catalogue is empty"):
        Catalogue.build([], [])


def test_a_doubled_item_is_refused() -> None:
    with pytest.raises(EngineError, match="'hat' and 'hat' cannot be told apart"):
        Catalogue.build(["hat", "hat"], [1, 1])


def test_a_hash_collision_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "item_hash", lambda item: len(item))
    with pytest.raises(EngineError, match="'hat' and 'cap' cannot be told apart"):
        Catalogue.build(["hat", "shoe", "cap"], [1, 1, 1])


def test_a_hash_of_0_is_refused_because_it_means_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "item_hash", lambda item: 0)
    with pytest.raises(EngineError, match="'the unknown item' and 'hat'"):
        Catalogue.build(["hat"], [1])


@pytest.mark.parametrize("row", [0, 2, 6])
def test_a_wrong_hash_is_found_in_any_part(monkeypatch: pytest.MonkeyPatch, row: int) -> None:
    monkeypatch.setattr(catalogue, "ROWS_AT_ONCE", 3)
    table = Catalogue.build([*"abcdefg"], np.ones(7)).table
    assert len(Catalogue.from_table(table)) == 7
    hashes = table["item_hash"].to_numpy().copy()
    hashes[row] += 1
    spoiled = table.set_column(2, table.schema.field("item_hash"), [hashes])
    with pytest.raises(EngineError, match=f"item '{'abcdefg'[row]}' has the wrong hash"):
        Catalogue.from_table(spoiled)


# Small numbers and their complements crowd both ends of the table, the worst case of probing.
_HASHES = st.one_of(
    st.integers(1, 40), st.integers(2**64 - 40, 2**64 - 1), st.integers(1, 2**64 - 1)
)


@given(st.lists(_HASHES, min_size=1, unique=True), st.lists(st.one_of(_HASHES, st.just(0))))
def test_the_table_finds_what_a_dictionary_finds(keys: list[int], others: list[int]) -> None:
    slots = _HashSlots.of(np.array([0, *keys], np.uint64))
    expected = {key: place for place, key in enumerate(keys, 1)}
    wanted = keys + others
    found = slots.find(np.array(wanted, np.uint64))
    assert found.tolist() == [expected.get(key, 0) for key in wanted]

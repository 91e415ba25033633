"""The items that an engine knows, numbered from 1; index 0 means "unknown" everywhere.

``items.arrow`` of a bundle is an Arrow IPC file with the columns of ``columns()``. Profiles hold
64-bit hashes of item ids, engines work on indices, lists show ids: this module maps between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from schemas.errors import EngineError

if TYPE_CHECKING:
    import pyarrow as pa

ATTRIBUTES = ("title", "category", "price", "provider")
"""Optional columns; what is not known of an item is null."""
ROWS_AT_ONCE = 1 << 16
"""Whose ids are Python strings at once while they are checked."""


def item_hash(item_id: str) -> int:
    """XXH3-64 (seed 0) of the UTF-8 bytes, as profiles store it; 0..2^64-1."""
    return int(xxhash.xxh3_64_intdigest(item_id.encode()))


def columns() -> pa.Schema:
    """The columns of ``items.arrow``, in order."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("index", pa.int64(), nullable=False),  # 1, 2, ... in row order
            pa.field("item_id", pa.utf8(), nullable=False),
            pa.field("item_hash", pa.uint64(), nullable=False),
            pa.field("popularity", pa.float64(), nullable=False),  # events in the training log
            pa.field("title", pa.utf8()),
            pa.field("category", pa.utf8()),
            pa.field("price", pa.float64()),
            pa.field("provider", pa.utf8()),
        ]
    )


@dataclass(frozen=True, eq=False)
class _HashSlots:
    """An open-addressed hash table, read by whole arrays: ten times as fast as a binary search.

    A hash's home is the slot of its leading bits; when that is taken it lies in the next free one.

        slot     0   1   2   3   4 ...
        index    7   2   0   5   0        hashes[2]'s home is 0 or 1; 0 marks a free slot
    """

    hashes: NDArray[np.uint64]
    index: NDArray[np.int32]
    shift: np.uint64

    @classmethod
    def of(cls, hashes: NDArray[np.uint64]) -> _HashSlots:
        """The table of ``hashes`` [I+1]: 0, then distinct ones that are not 0."""
        items = len(hashes) - 1
        bits = (8 * items).bit_length()  # sparse, so that most are at home
        shift = np.uint64(64 - bits)
        order = np.argsort(hashes[1:], kind="stable") + 1
        counter = np.arange(items)
        # Sorted hashes have sorted homes, so each lies right after the last or at home.
        homes = (hashes[order] >> shift).astype(np.int64)
        slots = np.maximum.accumulate(homes - counter) + counter
        index = np.zeros((1 << bits) + items + 1, np.int32)  # the last is free: all searches end
        index[slots] = order
        return cls(hashes, index, shift)

    def find(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The index of each hash, int64 [...]; 0 where it is not in the table."""
        flat = hashes.ravel()
        slots = (flat >> self.shift).astype(np.int64)
        index = self.index[slots]
        further = np.flatnonzero((index != 0) & (self.hashes[index] != flat))
        while len(further):
            slots[further] += 1
            index[further] = there = self.index[slots[further]]
            further = further[(there != 0) & (self.hashes[there] != flat[further])]
        return index.astype(np.int64).reshape(hashes.shape)


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Items by index; row 0 of every array is the unknown item.

    Args:
        hashes: uint64 [I+1] of the items, 0 at 0.
        popularity: float64 [I+1], 0 at 0.
        table: the I rows as in ``items.arrow``.
    """

    hashes: NDArray[np.uint64]
    popularity: NDArray[np.float64]
    table: pa.Table
    _slots: _HashSlots

    def __len__(self) -> int:
        """Number of items, the unknown one left out."""
        return len(self.hashes) - 1

    @cached_property
    def item_ids(self) -> NDArray[np.object_]:
        """Object [I+1], ``str``; "" at 0."""
        return _behind("", self.table["item_id"])

    @cached_property
    def titles(self) -> NDArray[np.object_]:
        """Object [I+1], ``str`` or None."""
        return _behind(None, self.table["title"])

    def lookup(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Catalogue index of each item hash.

        Args:
            hashes: uint64 [...].

        Returns:
            int64 [...] in 0..I; 0 where the hash is 0 or of no item.
        """
        return self._slots.find(hashes)

    @classmethod
    def build(
        cls,
        item_ids: Sequence[str],
        popularity: Sequence[float] | NDArray[Any],
        attributes: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Catalogue:
        """The catalogue of ``item_ids`` (items 1, 2, ... in this order).

        Args:
            item_ids: [I] distinct ids.
            popularity: [I], events seen of each.
            attributes: item id -> any of ``ATTRIBUTES``.

        Raises:
            EngineError: no items, or two items share an id or a hash.
        """
        import pyarrow as pa

        data: dict[str, Any] = {
            "index": np.arange(1, len(item_ids) + 1),
            "item_id": item_ids,
            "item_hash": _hashes(item_ids),
            "popularity": np.asarray(popularity, np.float64),
        }
        known = [attributes.get(item, {}) for item in item_ids] if attributes else []
        for name in ATTRIBUTES:
            values = [item.get(name) for item in known]
            data[name] = values or pa.nulls(len(item_ids), columns().field(name).type)
        return cls.from_table(pa.table(data, schema=columns()))

    @classmethod
    def from_table(cls, table: pa.Table) -> Catalogue:
        """The catalogue in a table of ``columns()``.

        Raises:
            EngineError: no rows, rows out of order, a hash that is not its item's, or a collision.
        """
        if table.num_rows == 0:
            raise EngineError(
                "the catalogue is empty",
                expected="at least one item",
                received="0 items",
                fix="train on a log with at least one view, click, purchase or the like",
            )
        nulls = [
            field.name for field in columns() if not field.nullable and table[field.name].null_count
        ]
        if nulls:
            raise EngineError("items lack a value", expected="no null", received=f"null in {nulls}")
        _check_rows(table)
        hashes = np.concatenate([np.zeros(1, np.uint64), table["item_hash"].to_numpy()])
        slots = _HashSlots.of(hashes)
        _check_apart(table, slots)
        popularity = np.concatenate([[0.0], table["popularity"].to_numpy()])
        return cls(hashes, popularity, table, slots)


def _behind(first: str | None, column: pa.ChunkedArray) -> NDArray[np.object_]:
    values = np.empty(len(column) + 1, object)
    values[0], values[1:] = first, column.to_numpy()
    return values


def _hashes(item_ids: Sequence[str] | NDArray[np.object_]) -> NDArray[np.uint64]:
    return np.fromiter(map(item_hash, item_ids), np.uint64, len(item_ids))


def _check_rows(table: pa.Table) -> None:
    """Every row's index is its own, and its hash its item's."""
    index = table["index"].to_numpy()
    if not np.array_equal(index, np.arange(1, len(index) + 1)):
        raise EngineError(
            "the items are not numbered by row", expected="index 1, 2, 3, ...", received=str(index)
        )
    for rows in table.select(["item_id", "item_hash"]).to_batches(ROWS_AT_ONCE):
        item_ids, stored = (column.to_numpy(zero_copy_only=False) for column in rows.columns)
        hashes = _hashes(item_ids)
        for row in np.flatnonzero(hashes != stored)[:1]:
            raise EngineError(
                f"item {item_ids[row]!r} has the wrong hash",
                expected=f"{hashes[row]:#018x}",
                received=f"{stored[row]:#018x}",
            )


def _check_apart(table: pa.Table, slots: _HashSlots) -> None:
    """Every item is found by its hash, which 0 is not: nothing is that of an unknown one."""
    hashes = slots.hashes[1:]
    found = np.where(hashes == 0, 0, slots.find(hashes))
    for row in np.flatnonzero(found != np.arange(1, len(hashes) + 1))[:1]:
        ids = table["item_id"]
        first = repr(ids[found[row] - 1].as_py()) if found[row] else "'the unknown item'"
        raise EngineError(
            f"items {first} and {ids[row].as_py()!r} cannot be told apart",
            expected="a different XXH3-64 hash for every item",
            received=f"{hashes[row]:#018x} twice",
            fix="rename one of the two items, or drop the doubled id",
        )

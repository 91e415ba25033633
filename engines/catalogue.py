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

    A key's home is the slot of its leading bits; when that is taken it lies in the next free one.

        slot    0   1   2   3   4 ...
        keys    a   b   0   c   0        b's home is 0 or 1; 0 marks a free slot
        index   7   2   0   5   0
    """

    keys: NDArray[np.uint64]
    index: NDArray[np.int64]
    shift: np.uint64

    @classmethod
    def of(cls, hashes: NDArray[np.uint64]) -> _HashSlots:
        """The table of ``hashes`` [I], distinct and not 0; hash i has index i + 1."""
        bits = (8 * len(hashes)).bit_length()  # sparse, so that most keys are at home
        shift = np.uint64(64 - bits)
        order = np.argsort(hashes, kind="stable")
        counter = np.arange(len(hashes))
        # Sorted hashes have sorted homes, so each lies right after the last or at home.
        homes = (hashes[order] >> shift).astype(np.int64)
        slots = np.maximum.accumulate(homes - counter) + counter
        size = (1 << bits) + len(hashes) + 1  # the last slot is free, where every search ends
        keys, index = np.zeros(size, np.uint64), np.zeros(size, np.int64)
        keys[slots], index[slots] = hashes[order], order + 1
        return cls(keys, index, shift)

    def find(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The index of each hash, int64 [...]; 0 where it is not in the table."""
        flat = hashes.ravel()
        slots = (flat >> self.shift).astype(np.int64)
        keys = self.keys[slots]
        further = np.flatnonzero((keys != flat) & (keys != 0))
        while len(further):
            slots[further] += 1
            keys = self.keys[slots[further]]
            further = further[(keys != flat[further]) & (keys != 0)]
        found = np.where(self.keys[slots] == flat, self.index[slots], 0)
        return found.reshape(hashes.shape)


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Items by index; row 0 of every array is the unknown item.

    Args:
        item_ids: object [I+1], ``str``; "" at 0.
        titles: object [I+1], ``str`` or None.
        popularity: float64 [I+1], 0 at 0.
        table: the I rows as in ``items.arrow``.
    """

    item_ids: NDArray[np.object_]
    titles: NDArray[np.object_]
    popularity: NDArray[np.float64]
    table: pa.Table
    _slots: _HashSlots

    def __len__(self) -> int:
        """Number of items, the unknown one left out."""
        return len(self.item_ids) - 1

    @cached_property
    def hashes(self) -> NDArray[np.uint64]:
        """Item hash of each index, uint64 [I+1]; 0 at 0."""
        hashes: NDArray[np.uint64] = self.table["item_hash"].to_numpy()
        return np.concatenate([np.zeros(1, np.uint64), hashes])

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

        known = attributes or {}
        data: dict[str, Any] = {
            "index": np.arange(1, len(item_ids) + 1),
            "item_id": list(item_ids),
            "item_hash": np.array([item_hash(item) for item in item_ids], np.uint64),
            "popularity": np.asarray(popularity, np.float64),
        }
        for name in ATTRIBUTES:
            data[name] = [known.get(item, {}).get(name) for item in item_ids]
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
        item_ids = np.array(["", *table["item_id"].to_pylist()], object)
        hashes = table["item_hash"].to_numpy()
        _check_rows(table["index"].to_numpy(), item_ids[1:], hashes)
        return cls(
            item_ids=item_ids,
            titles=np.array([None, *table["title"].to_pylist()], object),
            popularity=np.concatenate([[0.0], table["popularity"].to_numpy()]),
            table=table,
            _slots=_HashSlots.of(hashes),
        )


def _check_rows(
    index: NDArray[np.int64], item_ids: NDArray[np.object_], hashes: NDArray[np.uint64]
) -> None:
    if not np.array_equal(index, np.arange(1, len(index) + 1)):
        raise EngineError(
            "the items are not numbered by row", expected="index 1, 2, 3, ...", received=str(index)
        )
    seen: dict[int, str] = {0: "the unknown item"}
    for item, stored in zip(item_ids, hashes.tolist(), strict=True):
        if stored != item_hash(item):
            raise EngineError(
                f"item {item!r} has the wrong hash",
                expected=f"{item_hash(item):#018x}",
                received=f"{stored:#018x}",
            )
        if stored in seen:
            raise EngineError(
                f"items {seen[stored]!r} and {item!r} cannot be told apart",
                expected="a different XXH3-64 hash for every item",
                received=f"{stored:#018x} twice",
                fix="rename one of the two items, or drop the doubled id",
            )
        seen[stored] = item

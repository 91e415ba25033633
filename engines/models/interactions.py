"""An event log as models take it: what speaks for an item, user by user, each one's oldest first.

    events of any order          user  0 0 0 1 1 …
    (user, item, type, time) ─▶  item  3 1 7 3 2 …     catalogue index, the most popular being 1

Read once, event by event, into columns of numbers; from then on everything is whole arrays.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.catalogue import Catalogue
from engines.manifest import Training
from schemas.errors import EngineError

SPEAKING = np.array([0, 0, 1, 1, 1, 1, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0], bool)
"""By Avro enum order: view, click, cart, purchase, rating, like and share speak for an item;
unknown, impression, return, dislike, hide and types yet to come do not."""

Event = tuple[str, str, int, int]
"""user_id, item_id, event type by Avro enum order, event time in ms."""


@dataclass(frozen=True, eq=False)
class Interactions:
    """E events of U users, user by user, each one's oldest first.

    Args:
        user: int64 [E], rising, 0..U-1.
        item: int64 [E] catalogue index, 1..I.
        event_type: uint8 [E].
        time_ms: int64 [E] ms since 1970.
        catalogue: the I items, most popular first: a tie, which goes to the lower index, goes to
            the more popular item. Items of which only attributes are known come last.
        vectors: float32 [I+1, V] as given with the items, 0 where none was; V may be 0.
        training: range and size of the log.
    """

    user: NDArray[np.int64]
    item: NDArray[np.int64]
    event_type: NDArray[np.uint8]
    time_ms: NDArray[np.int64]
    catalogue: Catalogue
    vectors: NDArray[np.float32]
    training: Training

    @classmethod
    def read(
        cls,
        events: Iterable[Event],
        attributes: Mapping[str, Mapping[str, Any]] | None = None,
        log: str = "",
    ) -> Interactions:
        """The events that speak for an item.

        Args:
            events: in any order; at equal times of one user the order of arrival counts.
            attributes: item id -> title, category, price, provider and vector, as far as known.
            log: what to call the log in the manifest.

        Raises:
            EngineError: no event speaks for an item, two item ids share a hash, or vectors differ
                in length.
        """
        columns, users, items = _read(events)
        user, item, event_type, time_ms = columns
        attributes = attributes or {}
        met = set(items)
        items += [
            new for new, known in attributes.items() if new not in met and any(known.values())
        ]
        counts = np.bincount(item, minlength=len(items))
        by_popularity = sorted(range(len(items)), key=lambda at: (-counts[at], items[at]))
        index = np.empty(len(items), np.int64)
        index[by_popularity] = np.arange(1, len(items) + 1)
        ids = [items[at] for at in by_popularity]
        order = np.lexsort((time_ms, user))
        return cls(
            user=user[order],
            item=index[item[order]],
            event_type=event_type[order].astype(np.uint8),
            time_ms=time_ms[order],
            catalogue=Catalogue.build(ids, counts[by_popularity], attributes),
            vectors=_vectors(ids, attributes),
            training=Training(
                log=log,
                events=len(item),
                users=users,
                first_event_time=int(time_ms.min()),
                last_event_time=int(time_ms.max()),
            ),
        )

    @property
    def popularity(self) -> NDArray[np.float64]:
        """Events of each item, [I+1]; less than the catalogue's where some were left out."""
        return np.bincount(self.item, minlength=len(self.catalogue) + 1).astype(np.float64)

    def only(self, kept: NDArray[np.bool_]) -> Interactions:
        """The events at the True places of a mask [E], of the same users and items."""
        return replace(
            self,
            user=self.user[kept],
            item=self.item[kept],
            event_type=self.event_type[kept],
            time_ms=self.time_ms[kept],
        )


def _read(events: Iterable[Event]) -> tuple[list[NDArray[np.int64]], int, list[str]]:
    """User code, item code, type and time [E]; the number of users; item ids by code."""
    columns = user, item, kind, time_ms = array("q"), array("q"), array("q"), array("q")
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    speaking = SPEAKING.tolist()
    for user_id, item_id, event_type, event_time in events:
        if speaking[event_type]:
            user.append(users.setdefault(user_id, len(users)))
            item.append(items.setdefault(item_id, len(items)))
            kind.append(event_type)
            time_ms.append(event_time)
    if not items:
        raise EngineError(
            "there is nothing to learn from",
            expected="at least one view, click, cart, purchase, rating, like or share",
            received="none",
            fix="name another log",
        )
    return [np.frombuffer(column, np.int64) for column in columns], len(users), list(items)


def _vectors(ids: list[str], attributes: Mapping[str, Mapping[str, Any]]) -> NDArray[np.float32]:
    """The vectors given with the items, [I+1, V]."""
    given = {
        row: vector
        for row, item_id in enumerate(ids, start=1)
        if (vector := attributes.get(item_id, {}).get("vector")) is not None
    }
    widths = sorted({len(vector) for vector in given.values()})
    if len(widths) > 1:
        raise EngineError(
            "the vectors of the items differ in length",
            expected="one length",
            received=", ".join(map(str, widths)),
            fix="make all of them with one encoder",
        )
    vectors = np.zeros((len(ids) + 1, max(widths, default=0)), np.float32)
    for row, vector in given.items():
        vectors[row] = vector
    if not np.isfinite(vectors).all():
        raise EngineError(
            "a vector of an item is not finite",
            expected="numbers",
            received="NaN or infinity",
            fix="leave the vector of that item out",
        )
    return vectors

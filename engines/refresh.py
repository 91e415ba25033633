"""Another catalogue for an engine: new items, and which ones can be listed. The model stays.

    new item ─▶ its words ─▶ the known items that are most like it ─▶ the mean of their vectors

What nobody has met has no vector of its own until the engine is trained again. It takes one of the
rows that the tables have to spare.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.catalogue import ATTRIBUTES, Catalogue
from engines.draft import Draft, draft_of
from engines.models.tables import VECTORS
from engines.models.words import words_of
from engines.vectors import rows_of, set_row
from schemas.errors import EngineError

LIKE = 10
"""Known items whose vectors a new one takes the mean of."""


def refreshed(
    bundle: Bundle,
    items: Mapping[str, Mapping[str, Any]],
    available: Collection[str] | None = None,
) -> Draft:
    """The engine with these items beside its own.

    Args:
        bundle: of an engine whose items are tables.
        items: item id -> title, category, price, provider; of new items, and of known ones where
            something has changed.
        available: ids of the items that can be listed; None: all.

    Raises:
        EngineError: the engine has no tables, or no rows to spare.
    """
    if "available" not in bundle.tables:
        raise EngineError(
            f"the items of {bundle.label} are a part of its model",
            expected="an engine with tables, such as blend",
            received=bundle.manifest.model,
            fix="train it again",
        )
    known = _attributes(bundle.catalogue)
    new = [item for item in items if item not in known and any(items[item].values())]
    ids = [*bundle.catalogue.item_ids[1:].tolist(), *new]
    _check_room(bundle, len(ids))
    tables = {name: table.copy() for name, table in bundle.tables.items()}
    rows = range(len(bundle.catalogue) + 1, len(ids) + 1)
    for row, like in zip(rows, _most_like(known, [items[item] for item in new]), strict=True):
        for name in set(VECTORS) & tables.keys():
            set_row(tables, name, row, _mean_direction(rows_of(tables, name, like)))
    tables["available"][:] = -np.inf
    listed = [row for row, item in enumerate(ids, 1) if available is None or item in available]
    tables["available"][0, listed] = 0
    popularity = np.zeros(len(ids))
    popularity[: len(bundle.catalogue)] = bundle.catalogue.popularity[1:]
    merged = {item: known.get(item, {}) | dict(items.get(item, {})) for item in ids}
    return replace(
        draft_of(bundle), catalogue=Catalogue.build(ids, popularity, merged), tables=tables
    )


def _attributes(catalogue: Catalogue) -> dict[str, dict[str, Any]]:
    rows = catalogue.table.select(["item_id", *ATTRIBUTES]).to_pylist()
    return {row.pop("item_id"): row for row in rows}


def _check_room(bundle: Bundle, items: int) -> None:
    capacity = bundle.tables["available"].shape[1] - 1
    if items > capacity:
        raise EngineError(
            f"the tables of {bundle.label} are full",
            expected=f"at most {capacity - len(bundle.catalogue)} new items",
            received=f"{items - len(bundle.catalogue)}",
            fix="train it again",
        )


def _most_like(
    known: Mapping[str, Mapping[str, Any]], new: Sequence[Mapping[str, Any]]
) -> list[list[int]]:
    """Rows of the known items that share the rarest words with each new one; [] if none does."""
    rows_with: dict[str, list[int]] = defaultdict(list)
    for row, item in enumerate(known.values(), start=1):
        for word in set(words_of(item)):
            rows_with[word].append(row)
    found = []
    for item in new:
        shared: dict[int, float] = defaultdict(float)
        for word in sorted(set(words_of(item))):
            for row in rows_with.get(word, ()):
                shared[row] += math.log(len(known) / len(rows_with[word]))
        best = sorted(shared, key=lambda row: (-shared[row], row))
        found.append([row for row in best[:LIKE] if shared[row] > 0])
    return found


def _mean_direction(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of vectors [n, D] as a unit vector; 0 of none."""
    total: NDArray[np.float32] = vectors.sum(axis=0)
    return total / np.float32(max(float(np.linalg.norm(total)), 1e-9))

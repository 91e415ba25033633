"""Who is shown by two engines, and by which of them: items, their providers, their popularity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.catalogue import Catalogue
from engines.comparison import DECILES, Hashes, Ints, popularity_deciles, total_variation

UNKNOWN_PROVIDER = "unknown"
NEW = "new"
"""Items that the active engine does not know have no popularity yet."""
LARGEST = 10
"""Providers that are told one by one."""


@dataclass(frozen=True, eq=False)
class Exposure:
    """What two engines show: m items that are in any list.

    Args:
        items: uint64 [m] item hashes, rising.
        candidate, active: int64 [m], how many lists of each engine show the item.
    """

    items: Hashes
    candidate: Ints
    active: Ints

    @classmethod
    def of(cls, candidate: Hashes, active: Hashes) -> Exposure:
        """That of the lists uint64 [n, k] of each, 0 where one has ended."""
        shown = [lists[lists > 0] for lists in (candidate, active)]
        items = np.unique(np.concatenate(shown))
        counts = [
            np.bincount(np.searchsorted(items, hashes), minlength=len(items)) for hashes in shown
        ]
        return cls(items, *counts)

    def by_group(self, groups: Ints, size: int) -> tuple[Ints, Ints]:
        """Exposures of each group, int64 [size], by candidate and active; ``groups`` is [m]."""
        return _sums(groups, self.candidate, size), _sums(groups, self.active, size)


def hashes_of(catalogue: Catalogue, lists: Ints) -> Hashes:
    """Lists of catalogue indices as item hashes, uint64 of their shape, 0 where one has ended."""
    hashes: Hashes = catalogue.hashes[lists]
    return hashes


def by_provider(exposure: Exposure, candidate: Catalogue, active: Catalogue) -> dict[str, Any]:
    """Exposure by the catalogue's ``provider``: the candidate's, or else the active one's.

    Returns:
        JSON-ready: ``shift``, the total variation distance; ``providers``, how many there are; and
        the ``largest``, by the greater of the two shares, with their shares of all exposure.
    """
    names = _providers(exposure.items, candidate, active)
    known = sorted(set(names))
    place = {name: at for at, name in enumerate(known)}
    groups = np.array([place[name] for name in names], np.int64)
    counts = exposure.by_group(groups, len(known))
    ours, theirs = (_shares(count) for count in counts)
    order = np.argsort(-np.maximum(ours, theirs), kind="stable")[:LARGEST]
    return {
        "shift": total_variation(*counts),
        "providers": len(known),
        "largest": [
            {"provider": known[at], "candidate": float(ours[at]), "active": float(theirs[at])}
            for at in order
        ],
    }


def by_popularity(exposure: Exposure, active: Catalogue) -> dict[str, Any]:
    """Exposure by the decile of the active engine's popularity, 1 being the most popular items.

    Returns:
        JSON-ready: ``shift``, the total variation distance; and ``deciles`` "1" to "10" and "new",
        with their shares of all exposure.
    """
    # Index 0 is what the active engine does not know.
    deciles = np.concatenate([[DECILES + 1], popularity_deciles(active.popularity[1:])])
    groups = deciles[active.lookup(exposure.items)] - 1
    counts = exposure.by_group(groups, DECILES + 1)
    ours, theirs = (_shares(count) for count in counts)
    names = [*(str(decile) for decile in range(1, DECILES + 1)), NEW]
    return {
        "shift": total_variation(*counts),
        "deciles": [
            {"decile": name, "candidate": float(ours[at]), "active": float(theirs[at])}
            for at, name in enumerate(names)
        ],
    }


def _providers(items: Hashes, candidate: Catalogue, active: Catalogue) -> list[str]:
    """The provider of each item, [m]."""
    pairs = zip(_column(items, candidate), _column(items, active), strict=True)
    return [first or second or UNKNOWN_PROVIDER for first, second in pairs]


def _column(items: Hashes, catalogue: Catalogue) -> list[str | None]:
    """What a catalogue says of the provider of each item, [m]; None where it does not."""
    import pyarrow as pa

    index = catalogue.lookup(items)
    rows = pa.array(index - 1, mask=index == 0)
    column: list[str | None] = catalogue.table["provider"].take(rows).to_pylist()
    return column


def _sums(groups: Ints, counts: Ints, size: int) -> Ints:
    return np.bincount(groups, counts, minlength=size).astype(np.int64)


def _shares(counts: Ints) -> NDArray[np.float64]:
    return counts / max(int(counts.sum()), 1)

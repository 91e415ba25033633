"""Candidates for the histories of a log, and what users did next as examples for a ranker.

histories ─▶ channels, tables ─▶ candidates ─▶ which of them came next ─▶ examples
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engines.models.channels import Candidates, Channels
from engines.models.ranker import Examples, head_of
from engines.models.split import Split
from engines.models.windows import Batch, Windows
from schemas.profile import HISTORY_SLOTS

AT_ONCE = 256
"""Histories whose scores of all items are in memory together."""


@dataclass(frozen=True, eq=False)
class Recall:
    """Channels, and the tables that they read, as of `engines.models.blend.blend_tables`."""

    channels: Channels
    tables: Mapping[str, NDArray[Any]]

    def __call__(self, features: Mapping[str, NDArray[Any]]) -> Candidates:
        """The candidates of histories, as of `engines.features.features`."""
        given = {
            name: torch.from_numpy(array) for name, array in {**features, **self.tables}.items()
        }
        with torch.no_grad():
            found: Candidates = self.channels(**given)
        return found

    def examples(self, split: Split) -> Examples:
        """The judged events whose item is among its user's candidates."""
        found = []
        for batch, event_type in _judged(split):
            named = self(batch.features)
            hit = named.item == torch.from_numpy(batch.target[:, -1:])
            rows = hit.any(1)
            examples = Examples.of_events(
                feature=named.feature,
                valid=named.item > 0,
                place=hit.int().argmax(1),
                head=head_of(torch.from_numpy(event_type.astype(np.int64))),
            )
            found.append(examples[rows])
        return Examples.joined(found)


def parts(rows: int) -> list[NDArray[np.int64]]:
    """The numbers 0..rows-1 in parts of AT_ONCE at most; one, if there are none."""
    return np.array_split(np.arange(rows), max(1, -(-rows // AT_ONCE)))


def _judged(split: Split) -> Iterator[tuple[Batch, NDArray[np.uint8]]]:
    """What users were shown before each judged event, and its type."""
    windows = Windows.before(split.whole, split.judged)
    for rows in parts(len(windows)):
        batch = windows.batch(rows)
        target = windows.start[rows] + windows.length[rows]
        yield _full_width(batch), split.whole.event_type[target]


def _full_width(batch: Batch) -> Batch:
    """The batch as serving has it: pads up to the whole history, nothing excluded."""
    missing = HISTORY_SLOTS - batch.target.shape[1]
    pad = ((0, 0), (missing, 0))
    features = {name: np.pad(a, pad) for name, a in batch.features.items() if name != "excluded"}
    features["excluded"] = np.zeros((len(batch.target), 1), np.int64)
    return replace(batch, features=features)

"""Blend: candidates from many channels, ranked by one small model, as one ONNX graph.

    events ─▶ split ─▶ sequence network, co-occurrence, content, trend, popularity ─▶ channels
                   └▶ what users did next ─▶ their candidates ─▶ ranker

Once the ranker is fitted, the network is fitted on and everything is counted anew over the whole
log: what is newest counts most in serving.

All that is about the items are tables, so a catalogue can change without another model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engines.catalogue import Catalogue
from engines.draft import Draft
from engines.manifest import Training
from engines.models import cooccurrence, sasrec, tables
from engines.models.cooccurrence import CooccurrenceModel
from engines.models.exporting import export
from engines.models.interactions import Interactions
from engines.models.plan import Plan
from engines.models.sasrec import BATCH, K, SasrecModel
from engines.models.split import Split
from engines.models.top_k import capacity
from engines.models.windows import Batch, Windows
from schemas.profile import EXCLUDED_SLOTS, HISTORY_SLOTS

if TYPE_CHECKING:
    from engines.models.channels import Channels
    from engines.models.ranker import Examples, Ranker

KIND = "blend"
LISTED = 128
"""Items in the tables of what is popular and in trend: as many as a user can have excluded, and
then the channel's own."""
HALF_LIFE_MS = 7 * 24 * 3600 * 1000
"""Of an event in the trend."""
AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class BlendModel:
    """A fitted model.

    Args:
        catalogue: the I items, most popular first.
        channels, ranker: ready to be asked.
        tables: see `blend_tables`.
        training: range and size of the log.
        parameters, metrics: for the manifest.
    """

    catalogue: Catalogue
    channels: Channels
    ranker: Ranker
    tables: dict[str, NDArray[Any]]
    training: Training
    parameters: dict[str, int | float | str]
    metrics: dict[str, float]

    def draft(
        self, *, batch: int = BATCH, k: int = K, excluded_slots: int = EXCLUDED_SLOTS
    ) -> Draft:
        """The model as an engine that ranks ``batch`` users at a time and lists ``k`` items."""
        from engines.models.channels import CHANNELS, BlendLister

        slots = HISTORY_SLOTS
        widths = {"item": slots, "event_type": slots, "gap_s": slots, "excluded": excluded_slots}
        lister = BlendLister(self.channels, self.ranker, k).eval()
        return Draft(
            model=export(KIND, lister, widths, self.tables, batch=batch, k=k),
            catalogue=self.catalogue,
            batch=batch,
            k=k,
            input_widths=widths,
            channels=CHANNELS,
            tables=self.tables,
            kind=KIND,
            training=self.training,
            parameters=self.parameters,
            metrics=self.metrics,
        )


def fit(seen: Interactions, plan: Plan) -> BlendModel:
    """Fit on a log."""
    from engines.models.channels import Channels
    from engines.models.ranker import fit_ranker

    plan = replace(plan, encode=cache(plan.encode) if plan.encode else None)
    split = plan.split(seen)
    judged = sasrec.fit_windows(split, Windows.of(split.train), plan)
    given = _tables_of(judged, split.train, plan)
    examples = _examples(Channels(judged.network).eval(), given, split)
    sequence = sasrec.gone_on(judged, split, plan)
    return BlendModel(
        catalogue=seen.catalogue,
        channels=Channels(sequence.network).eval(),
        ranker=fit_ranker(examples, plan.head_weights, plan.seed),
        tables=_tables_of(sequence, seen, plan),
        training=seen.training,
        parameters=sequence.parameters | {"ranked_examples": len(examples)},
        metrics=sequence.metrics,
    )


def _tables_of(sequence: SasrecModel, seen: Interactions, plan: Plan) -> dict[str, NDArray[Any]]:
    """The tables by a log; an item that it never met has the vector of its content."""
    import torch

    from engines.models.content_vectors import content_vectors

    torch.manual_seed(plan.seed)
    content = content_vectors(seen, torch.from_numpy(sequence.vectors), plan.encode).numpy()
    met = seen.popularity > 0
    vectors = np.where(met[:, None], sequence.vectors, content)
    return blend_tables(seen, vectors, cooccurrence.fit(seen), content)


def blend_tables(
    seen: Interactions,
    vectors: NDArray[np.float32],
    together: CooccurrenceModel,
    content: NDArray[np.float32],
) -> dict[str, NDArray[Any]]:
    """All that is about the items: what `tables.item_tables` has, and

    ``content_vectors`` [C, D]; ``neighbours``, ``neighbour_weights`` [C, N]; ``item_trend`` [1, C],
    share of the highest; ``popular``, ``trending`` [1, 128], the items that are highest.
    """
    known = len(seen.catalogue) + 1
    rows = _capacity(tables.with_spare(known))
    weight = np.exp2((seen.time_ms - seen.time_ms.max()) / HALF_LIFE_MS)
    trend = np.bincount(seen.item, weight, known).astype(np.float64)
    return tables.item_tables(vectors, seen.popularity, rows) | {
        "content_vectors": tables.table_rows(content, rows),
        "neighbours": tables.table_rows(together.neighbours.astype(np.int64), rows),
        "neighbour_weights": tables.table_rows(together.weights, rows),
        "item_trend": tables.shares(trend, rows),
        "popular": _highest(seen.popularity),
        "trending": _highest(trend),
    }


def _capacity(items: int) -> int:
    """The least C of at least so many rows that every channel can search."""
    from engines.models.channels import SIZES

    rows = max(items, LISTED)
    while (needed := max(capacity(rows, size) for size in SIZES.values())) > rows:
        rows = needed
    return rows


def _highest(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices [1, LISTED], falling by value, then zeros; a tie goes to the lower index."""
    order = np.argsort(-values, kind="stable")[:LISTED]
    order = order[values[order] > 0]
    return np.pad(order, (0, LISTED - len(order)))[None]


def _examples(channels: Channels, given: dict[str, NDArray[Any]], split: Split) -> Examples:
    """The judged events whose item is among its user's candidates."""
    import torch

    from engines.models.ranker import Examples, head_of

    inputs = {name: torch.from_numpy(table) for name, table in given.items()}
    found = []
    for batch, event_type in _judged(split):
        features = {name: torch.from_numpy(a) for name, a in batch.features.items()}
        with torch.no_grad():
            named = channels(**features, **inputs)
        target = torch.from_numpy(batch.target[:, -1:])
        hit = named.item == target
        rows = hit.any(1)
        found.append(
            Examples(
                feature=named.feature[rows],
                valid=named.item[rows] > 0,
                place=hit[rows].int().argmax(1),
                head=head_of(torch.from_numpy(event_type.astype(np.int64)))[rows],
            )
        )
    return Examples(
        *(
            torch.cat([getattr(part, field) for part in found])
            for field in Examples.__dataclass_fields__
        )
    )


def _judged(split: Split) -> Iterator[tuple[Batch, NDArray[np.uint8]]]:
    """What users were shown before each judged event, and its type."""
    windows = Windows.before(split.whole, split.judged)
    rows = np.arange(len(windows))
    for part in np.array_split(rows, max(1, -(-len(rows) // AT_ONCE))):
        batch = windows.batch(part)
        target = windows.start[part] + windows.length[part]
        yield _full_width(batch), split.whole.event_type[target]


def _full_width(batch: Batch) -> Batch:
    """The batch as serving has it: pads up to the whole history, nothing excluded."""
    missing = HISTORY_SLOTS - batch.target.shape[1]
    pad = ((0, 0), (missing, 0))
    features = {name: np.pad(a, pad) for name, a in batch.features.items() if name != "excluded"}
    features["excluded"] = np.zeros((len(batch.target), 1), np.int64)
    return replace(batch, features=features)

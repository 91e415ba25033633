"""Blend: candidates from many channels, ranked by one small model, as one ONNX graph.

    events ─▶ split ─▶ sequence network, co-occurrence, content, trend, popularity ─▶ channels
                   └▶ what users did next ─▶ their candidates ─▶ ranker

Once the ranker is fitted, the network is fitted on and everything is counted anew over the whole
log: what is newest counts most in serving.

All that is about the items are tables, so a catalogue can change without another model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.catalogue import Catalogue
from engines.draft import Draft
from engines.manifest import Training
from engines.models import cooccurrence, sasrec, tables
from engines.models.cooccurrence import CooccurrenceModel
from engines.models.exporting import export
from engines.models.interactions import Interactions
from engines.models.plan import Plan, Shape
from engines.models.sasrec import BATCH, K, SasrecModel
from engines.models.split import Split
from engines.models.top_k import capacity
from engines.models.weights import restored
from engines.models.windows import Windows
from schemas.profile import EXCLUDED_SLOTS, HISTORY_SLOTS

if TYPE_CHECKING:
    from torch import nn

    from engines.models.channels import BlendLister, Channels
    from engines.models.network import SequenceNetwork
    from engines.models.ranker import Examples, Ranker
    from engines.models.recall import Recall

KIND = "blend"
LISTED = 128
"""Items in the tables of what is popular and in trend: as many as a user can have excluded, and
then the channel's own."""
HALF_LIFE_MS = 7 * 24 * 3600 * 1000
"""Of an event in the trend."""


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
        from safetensors.torch import save

        from engines.models.channels import CHANNELS

        slots = HISTORY_SLOTS
        widths = {"item": slots, "event_type": slots, "gap_s": slots, "excluded": excluded_slots}
        return Draft(
            model=export(KIND, self.lister(k), widths, self.tables, batch=batch, k=k),
            catalogue=self.catalogue,
            batch=batch,
            k=k,
            input_widths=widths,
            channels=CHANNELS,
            tables=self.tables,
            kind=KIND,
            training=self.training,
            parameters={**self.parameters, **asdict(self.network.shape)},
            metrics=self.metrics,
            weights=save(_parts(self.network, self.ranker).state_dict()),
        )

    def lister(self, k: int) -> BlendLister:
        """What is exported: makes lists of ``k`` items."""
        from engines.models.channels import BlendLister

        return BlendLister(self.channels, self.ranker, k).eval()

    @property
    def network(self) -> SequenceNetwork:
        """The one that the sequence channel asks."""
        return self.channels.scorer.network


def of_bundle(bundle: Bundle) -> BlendModel:
    """The model that an engine of this kind was exported from.

    Raises:
        EngineError: it is of another kind, or its weights do not fit its parameters.
    """
    from engines.models.channels import Channels
    from engines.models.network import SequenceNetwork
    from engines.models.ranker import HEADS, Ranker

    def made(shape: Shape) -> nn.ModuleDict:
        return _parts(SequenceNetwork(shape), Ranker(dict.fromkeys(HEADS, 1.0)))

    parts = restored(bundle, KIND, made)
    network, ranker = parts["network"], parts["ranker"]
    assert isinstance(network, SequenceNetwork)
    assert isinstance(ranker, Ranker)
    return BlendModel(
        catalogue=bundle.catalogue,
        channels=Channels(network).eval(),
        ranker=ranker,
        tables={name: table.copy() for name, table in bundle.tables.items()},  # writable, for torch
        training=bundle.manifest.training,
        parameters=bundle.manifest.parameters,
        metrics=bundle.manifest.metrics,
    )


def _parts(network: SequenceNetwork, ranker: Ranker) -> nn.ModuleDict:
    """All that is fitted, by the names that it has in a bundle."""
    from torch import nn

    return nn.ModuleDict({"network": network, "ranker": ranker})


def fit(seen: Interactions, plan: Plan) -> BlendModel:
    """Fit on a log."""
    split = plan.split(seen)
    judged = sasrec.fit_windows(split, Windows.of(split.train), plan)
    return around(judged, sasrec.gone_on(judged, split, plan), split, plan)


def around(
    judged: SasrecModel,
    newest: SasrecModel,
    split: Split,
    plan: Plan,
    teach: Callable[[Recall], Examples] | None = None,
) -> BlendModel:
    """The other channels and a ranker around a sequence network; all are of ``split.whole``.

    Args:
        judged: the network as fitted on ``split.train``, by which the ranker learns.
        newest: the network that is to serve: the same, or gone on over the whole log.
        teach: makes examples for the ranker beside the judged events.
    """
    from engines.models.channels import Channels
    from engines.models.ranker import Examples, fit_ranker
    from engines.models.recall import Recall

    plan = replace(plan, encode=cache(plan.encode) if plan.encode else None)
    recall = Recall(Channels(judged.network).eval(), _tables_of(judged, split.train, plan))
    examples = recall.examples(split)
    taught = [teach(recall)] if teach else []
    return BlendModel(
        catalogue=split.whole.catalogue,
        channels=Channels(newest.network).eval(),
        ranker=fit_ranker(Examples.joined([examples, *taught]), plan.head_weights, plan.seed),
        tables=_tables_of(newest, split.whole, plan),
        training=split.whole.training,
        parameters=newest.parameters | {"ranked_examples": len(examples)},
        metrics=newest.metrics,
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

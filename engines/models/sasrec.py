"""SASRec: self-attention over the last events of a user, as an engine. See ``network``.

events ─▶ split ─▶ windows ─▶ fitting ─▶ network and item vectors ─▶ one ONNX graph

score of item j:  temperature * <unit(what comes after the newest event), unit(vector of j)>
                  + a little popularity, which is all there is without a known event
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engines.catalogue import Catalogue
from engines.draft import Draft
from engines.manifest import Training
from engines.models.exporting import assemble, nodes_of
from engines.models.interactions import Interactions
from engines.models.listing import listing
from engines.models.plan import Plan
from engines.models.top_k import Constants, padded
from engines.models.windows import Windows
from schemas.profile import EXCLUDED_SLOTS, HISTORY_SLOTS

if TYPE_CHECKING:
    from engines.models.network import SequenceNetwork

KIND = "sasrec"
CHANNELS = ("popularity", "sequence")
BATCH = 32
K = 10
POPULARITY = 1e-3
"""What the most popular item has before one that nobody knows; the scores' range is some 40."""


@dataclass(frozen=True, eq=False)
class SasrecModel:
    """A fitted model.

    Args:
        catalogue: the I items, most popular first.
        network: ready to be asked.
        vectors: float32 [I+1, D].
        popularity: float64 [I+1].
        training: range and size of the log.
        parameters, metrics: for the manifest.
    """

    catalogue: Catalogue
    network: SequenceNetwork
    vectors: NDArray[np.float32]
    popularity: NDArray[np.float64]
    training: Training
    parameters: dict[str, int | float | str]
    metrics: dict[str, float]

    def draft(
        self, *, batch: int = BATCH, k: int = K, excluded_slots: int = EXCLUDED_SLOTS
    ) -> Draft:
        """The model as an engine that ranks ``batch`` users at a time and lists ``k`` items."""
        slots = HISTORY_SLOTS
        widths = {"item": slots, "event_type": slots, "gap_s": slots, "excluded": excluded_slots}
        width = max(len(self.vectors), k)
        tables = item_tables(self.vectors, self.popularity, padded(width, k))
        scores, score_constants = sequence_scores(self.network, tables["item_vectors"], batch)
        prior, prior_constants = _with_prior()
        choice, choice_constants = listing("score", batch, width, k, excluded_slots)
        model = assemble(
            KIND,
            [*scores, *prior, *choice, *_channels()],
            score_constants | prior_constants | choice_constants,
            widths,
            batch=batch,
            k=k,
            tables=tables,
        )
        return Draft(
            model=model,
            catalogue=self.catalogue,
            batch=batch,
            k=k,
            input_widths=widths,
            channels=CHANNELS,
            tables=tables,
            kind=KIND,
            training=self.training,
            parameters=self.parameters,
            metrics=self.metrics,
        )


def fit(seen: Interactions, plan: Plan) -> SasrecModel:
    """Fit on a log."""
    from engines.models.fitting import Job, fit

    split = plan.split(seen)
    train = Windows.of(split.train)
    job = Job(
        train=train,
        validation=Windows.before(split.whole, split.judged),
        shape=plan.shape,
        settings=plan.fit,
        seed=plan.seed,
        checkpoints=plan.checkpoints,
    )
    fitted = fit(job, plan.told)
    return SasrecModel(
        catalogue=seen.catalogue,
        network=fitted.network,
        vectors=fitted.vectors,
        popularity=split.train.popularity,
        training=seen.training,
        parameters={
            **asdict(plan.shape),
            **asdict(plan.fit),
            "seed": plan.seed,
            "epoch": fitted.epoch,
        },
        metrics={"validation_ndcg@10": max(fitted.ndcg)} if len(job.validation) else {},
    )


def sequence_scores(
    network: SequenceNetwork, item_vectors: NDArray[np.float32], batch: int
) -> tuple[list[Any], Constants]:
    """Nodes that make ``sequence_score`` float32 [B, C] of features and ``item_vectors``."""
    import torch

    from engines.models.network import NewestScorer

    whole = torch.zeros(batch, HISTORY_SLOTS, dtype=torch.int64)
    inputs = {
        "item": whole,
        "event_type": whole.clone(),
        "gap_s": torch.zeros(batch, HISTORY_SLOTS),
        "item_vectors": torch.from_numpy(item_vectors),
    }
    return nodes_of(NewestScorer(network).eval(), inputs, "sequence_score")


def item_tables(
    vectors: NDArray[np.float32], popularity: NDArray[np.float64], capacity: int
) -> dict[str, NDArray[Any]]:
    """The inputs that are about the items, in rows or columns 0..capacity-1.

    ``item_vectors`` [C, D]; ``available`` [1, C], 0 for an item that can be listed and else -inf;
    ``item_popularity`` [1, C], share of the most popular item's events.
    """
    item_vectors = np.zeros((capacity, vectors.shape[1]), np.float32)
    item_vectors[: len(vectors)] = vectors
    available = np.full((1, capacity), -np.inf, np.float32)
    available[0, 1 : len(vectors)] = 0
    shares = np.zeros((1, capacity), np.float32)
    shares[0, : len(vectors)] = popularity / max(popularity.max(), 1)
    return {"item_vectors": item_vectors, "available": available, "item_popularity": shares}


def _with_prior() -> tuple[list[Any], Constants]:
    from onnx.helper import make_node as node

    nodes = [
        node("Mul", ["item_popularity", "popularity_weight"], ["weighted_popularity"]),
        node("Add", ["weighted_popularity", "available"], ["prior"]),
        node("Add", ["sequence_score", "prior"], ["score"]),
    ]
    return nodes, {"popularity_weight": np.array(POPULARITY, np.float32)}


def _channels() -> list[Any]:
    """The sequence spoke for an item unless its score is exactly 0, as without a known event."""
    from onnx import TensorProto
    from onnx.helper import make_node as node

    return [
        node("GatherElements", ["sequence_score", "items"], ["spoken"], axis=1),
        node("Cast", ["spoken"], ["has_spoken"], to=TensorProto.BOOL),
        node("Cast", ["has_spoken"], ["channels"], to=TensorProto.INT64),
    ]

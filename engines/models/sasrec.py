"""SASRec: self-attention over the last events of a user, as an engine. See ``network``.

events ─▶ split ─▶ windows ─▶ fitting ─▶ network and item vectors ─▶ one ONNX graph
             └▶ what judged the fit ─▶ a short fit more ─┘

score of item j:  temperature * <unit(what comes after the newest event), unit(vector of j)>
                  + a little popularity, which is all there is without a known event
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.catalogue import Catalogue
from engines.draft import Draft
from engines.manifest import Training
from engines.models.exporting import export
from engines.models.interactions import Interactions
from engines.models.plan import Plan
from engines.models.split import Split
from engines.models.tables import item_tables, with_spare
from engines.models.top_k import capacity
from engines.models.weights import restored
from engines.models.windows import Windows
from schemas.profile import EXCLUDED_SLOTS, HISTORY_SLOTS

if TYPE_CHECKING:
    from engines.models.fitting import Start
    from engines.models.network import SequenceLister, SequenceNetwork

KIND = "sasrec"
CHANNELS = ("popularity", "sequence")
BATCH = 32
K = 10
MORE_EPOCHS = 2
"""Over the whole log, once a fit is judged."""
SLOWER = 3
"""How many times as small the steps of a fit are that goes on from another."""
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
        from safetensors.torch import save

        slots = HISTORY_SLOTS
        widths = {"item": slots, "event_type": slots, "gap_s": slots, "excluded": excluded_slots}
        rows = capacity(max(with_spare(len(self.vectors)), k), k)
        tables = item_tables(self.vectors, self.popularity, rows)
        return Draft(
            model=export(KIND, self.lister(k), widths, tables, batch=batch, k=k),
            catalogue=self.catalogue,
            batch=batch,
            k=k,
            input_widths=widths,
            channels=CHANNELS,
            tables=tables,
            kind=KIND,
            training=self.training,
            parameters={**self.parameters, **asdict(self.network.shape)},
            metrics=self.metrics,
            weights=save(self.network.state_dict()),
        )

    def lister(self, k: int) -> SequenceLister:
        """What is exported: makes lists of ``k`` items."""
        from engines.models.network import SequenceLister

        return SequenceLister(self.network, k, POPULARITY).eval()


def of_bundle(bundle: Bundle) -> SasrecModel:
    """The model that an engine of this kind was exported from.

    Raises:
        EngineError: it is of another kind, or its weights do not fit its parameters.
    """
    from engines.models.network import SequenceNetwork

    manifest = bundle.manifest
    network = restored(bundle, KIND, SequenceNetwork)
    known = len(bundle.catalogue) + 1
    return SasrecModel(
        catalogue=bundle.catalogue,
        network=network,
        vectors=bundle.tables["item_vectors"][:known],
        popularity=bundle.catalogue.popularity.astype(np.float64),
        training=manifest.training,
        parameters=manifest.parameters,
        metrics=manifest.metrics,
    )


def fit(seen: Interactions, plan: Plan) -> SasrecModel:
    """Fit on a log."""
    split = plan.split(seen)
    return gone_on(fit_windows(split, Windows.of(split.train), plan), split, plan)


def gone_on(model: SasrecModel, split: Split, plan: Plan) -> SasrecModel:
    """A model fitted on over the whole log, what judged its fit among it: that is the newest."""
    if len(split.train.user) == len(split.whole.user):
        return model
    everything = Split(split.whole, split.whole, split.judged[:0])
    start = going_on(model)
    more = fit_windows(everything, Windows.of(split.whole), shortly(plan, MORE_EPOCHS), start)
    return replace(model, network=more.network, vectors=more.vectors, popularity=more.popularity)


def going_on(model: SasrecModel) -> Start:
    """Where a fit begins that goes on from a model."""
    import torch

    from engines.models.fitting import Start

    return Start(torch.from_numpy(model.vectors), model.network.state_dict())


def shortly(plan: Plan, epochs: int) -> Plan:
    """The plan of a fit of so many epochs that goes on from fitted weights."""
    fit = plan.fit
    settings = replace(
        fit, epochs=min(fit.epochs, epochs), learning_rate=fit.learning_rate / SLOWER
    )
    return replace(plan, fit=settings)


def fit_windows(
    split: Split, train: Windows, plan: Plan, start: Start | None = None
) -> SasrecModel:
    """Fit on windows of a log's ``split.train``, from ``start`` on if one is given."""
    from engines.models.fitting import Job, fit

    job = Job(
        train=train,
        validation=Windows.before(split.whole, split.judged),
        shape=plan.shape,
        settings=plan.fit,
        seed=plan.seed,
        checkpoints=plan.checkpoints,
        start=start,
    )
    fitted = fit(job, plan.told)
    return SasrecModel(
        catalogue=split.whole.catalogue,
        network=fitted.network,
        vectors=fitted.vectors,
        popularity=split.train.popularity,
        training=split.whole.training,
        parameters={
            **asdict(plan.fit),
            "seed": plan.seed,
            "epoch": fitted.epoch,
        },
        metrics={"validation_ndcg@100": max(fitted.ndcg)} if len(job.validation) else {},
    )

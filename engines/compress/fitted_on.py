"""An engine taken up again: what was fitted before is where the next fit begins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engines.bundle import Bundle
from engines.catalogue import Catalogue
from engines.draft import Draft
from engines.models import blend, sasrec
from engines.models.fitting import Start
from engines.models.initial import initial_vectors
from engines.models.interactions import Interactions
from engines.models.kinds import Model
from engines.models.network import SequenceNetwork
from engines.models.plan import Plan
from engines.models.split import Split
from engines.models.windows import Windows
from engines.vectors import rows_of

EPOCHS = 5


def translation(of: Catalogue, into: Catalogue) -> NDArray[np.int64]:
    """Index of each item of one catalogue in another, int64 [I+1]; 0 where it is unknown."""
    index = into.lookup(of.hashes)
    index[0] = 0
    return index


def vectors_of(bundle: Bundle, seen: Interactions, width: int) -> Tensor:
    """Unit vectors [I+1, D] of the items of a log, as an engine has them.

    If it has wider ones, they are turned so that the first D of their numbers hold the most. Items
    that it does not know, or all of them if it has no vectors, have those that any fit begins with.
    """
    own = initial_vectors(seen, width)
    if "item_vectors" not in bundle.tables:
        return own
    theirs = torch.from_numpy(rows_of(bundle.tables, "item_vectors", slice(None)))
    if theirs.shape[1] > width:
        _, _, directions = torch.linalg.svd(theirs, full_matrices=False)
        theirs = theirs @ directions[:width].T
    theirs = functional.pad(theirs, (0, width - theirs.shape[1]))
    place = torch.from_numpy(translation(seen.catalogue, bundle.catalogue))
    return torch.where((place > 0)[:, None], functional.normalize(theirs[place], dim=-1), own)


def network_of(bundle: Bundle) -> SequenceNetwork:
    """The sequence network of a ``sasrec`` or ``blend`` engine.

    Raises:
        EngineError: it is of another kind, or its weights do not fit its parameters.
    """
    if bundle.manifest.model == blend.KIND:
        return blend.of_bundle(bundle).network
    return sasrec.of_bundle(bundle).network


def draft_like(bundle: Bundle, model: Model) -> Draft:
    """A model as an engine of a bundle's batch shape and list length, and its child."""
    manifest = bundle.manifest
    draft = model.draft(batch=manifest.batch, k=manifest.k, excluded_slots=manifest.excluded_slots)
    return replace(draft, parent=bundle.label)


def fitted_on(bundle: Bundle, split: Split, plan: Plan, start: Start) -> Draft:
    """The child of a bundle that a short fit of its network from ``start`` on results in.

    Of a ``blend`` engine the ranker is fitted anew: it has to know the network as it is now.
    """
    windows = Windows.of(split.train)
    network = sasrec.fit_windows(split, windows, sasrec.shortly(plan, EPOCHS), start)
    if bundle.manifest.model != blend.KIND:
        return draft_like(bundle, network)
    plan = replace(plan, head_weights=blend.of_bundle(bundle).ranker.weights)
    return draft_like(bundle, blend.around(network, network, split, plan))

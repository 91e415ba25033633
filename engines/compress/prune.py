"""Structured pruning: what matters least of a network is taken out, and the rest is fitted on.

    blocks                  one after the other goes without which the loss is lowest
    heads, hidden units     those stay of which the sum of |weight * gradient| is highest

That sum, over all weights of a head or unit, is the first-order estimate of what the loss would be
without it (after Molchanov et al. 2019). What is left is a smaller, faster network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from engines.bundle import Bundle
from engines.compress.fitted_on import fitted_on, network_of, vectors_of
from engines.draft import Draft
from engines.models.fitting import Start
from engines.models.interactions import Interactions
from engines.models.network import Block, SequenceNetwork
from engines.models.plan import Plan, Shape
from engines.models.trainee import Draws, Trainee
from engines.models.windows import Windows
from schemas.errors import EngineError

LOOKED_AT = 50
"""Batches of the log that say what matters."""

Parts = dict[str, tuple[int, Tensor]]
"""By name of a parameter: a dimension, and places along it, int64 [...]: [P, n] of P parts."""


@dataclass(frozen=True)
class Kept:
    """How many of each are kept; None: all.

    Args:
        blocks: of the network.
        heads, hidden: of each block, and units of its feed-forward part.
    """

    blocks: int | None = None
    heads: int | None = None
    hidden: int | None = None

    @classmethod
    def parsed(cls, text: str) -> Kept:
        """What a text such as "heads=1,hidden=64" says.

        >>> Kept.parsed("heads=1,hidden=64")
        Kept(blocks=None, heads=1, hidden=64)

        Raises:
            EngineError: it says anything else.
        """
        pairs = [part.partition("=") for part in text.replace(" ", "").split(",")]
        names = [name for name, _, number in pairs if number.isdecimal()]
        if len(names) < len(pairs) or not set(names) <= set(cls.__dataclass_fields__):
            raise EngineError(
                "it is not clear what is to be kept",
                expected="blocks, heads and hidden with numbers, such as heads=1,hidden=64",
                received=repr(text),
                fix="say how many of them are kept",
            )
        return cls(**{name: int(number) for name, _, number in pairs})

    def of(self, shape: Shape) -> Shape:
        """The shape that is left.

        Raises:
            EngineError: less than one, or more than there are.
        """
        left = {name: value for name, value in vars(self).items() if value is not None}
        for name, value in left.items():
            if not 1 <= value <= getattr(shape, name):
                raise EngineError(
                    f"so many {name} cannot be kept",
                    expected=f"1 to {getattr(shape, name)}",
                    received=str(value),
                    fix="keep less",
                )
        return replace(shape, **left)


def pruned(bundle: Bundle, seen: Interactions, plan: Plan, kept: Kept) -> Draft:
    """An engine with fewer parts, fitted on.

    Args:
        bundle: a ``sasrec`` or ``blend`` engine.
        seen: the log to fit on.
        plan: of that; its shape is not looked at.
        kept: how much is left.

    Raises:
        EngineError: it is another engine, or has less than is to be kept.
    """
    network = network_of(bundle)
    shape = kept.of(network.shape)
    torch.manual_seed(plan.seed)
    split = plan.split(seen)
    vectors = vectors_of(bundle, split.train, shape.width)
    sample = _Sample(split.train, vectors, plan)
    network = without_blocks(network, shape.blocks, sample)
    sample.gradients(network)
    state = narrowed(network, shape)
    return fitted_on(bundle, split, replace(plan, shape=shape), Start(vectors, state))


class _Sample:
    """Some batches of a log, for the loss of networks."""

    def __init__(self, seen: Interactions, vectors: Tensor, plan: Plan) -> None:
        chance = np.random.default_rng(plan.seed)
        windows = Windows.of(seen)
        draws = Draws(seen.popularity, plan.fit.negatives)
        self._vectors = vectors
        self._batches = []
        for rows in windows.groups(plan.fit.events, chance)[:LOOKED_AT]:
            batch = windows.batch(rows)
            arrays = {"target": batch.target, **batch.features}
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
            self._batches.append((tensors, *draws.draw(chance)))

    def loss(self, network: SequenceNetwork) -> Tensor:
        """The mean over batches."""
        trainee = Trainee(self._vectors, network.shape).eval()
        trainee.network = network.eval()
        return torch.stack([trainee(*batch) for batch in self._batches]).mean()

    def gradients(self, network: SequenceNetwork) -> None:
        """Fill in the gradients of all parameters of a network."""
        network.zero_grad()
        self.loss(network).backward()  # type: ignore[no-untyped-call]


def without_blocks(network: SequenceNetwork, kept: int, sample: _Sample) -> SequenceNetwork:
    """A network with so many blocks: one after the other is left out that is missed least."""
    while len(network.blocks) > kept:
        with torch.no_grad():
            losses = [float(sample.loss(_without(network, n))) for n in range(len(network.blocks))]
        network = _without(network, int(np.argmin(losses)))
    return network


def _without(network: SequenceNetwork, number: int) -> SequenceNetwork:
    """A network without one of its blocks; the others are shared."""
    blocks = [block for n, block in enumerate(network.blocks) if n != number]
    less = SequenceNetwork(replace(network.shape, blocks=len(blocks)))
    for name, module in network.named_children():
        setattr(less, name, module)
    less.blocks = nn.ModuleList(blocks)
    less.log_temperature = network.log_temperature
    return less


def narrowed(network: SequenceNetwork, shape: Shape) -> dict[str, Tensor]:
    """The state of a network of fewer heads and units, by the gradients of a wider one."""
    state = {name: value.clone() for name, value in network.state_dict().items()}
    for number, block in enumerate(network.blocks):
        assert isinstance(block, Block)
        for name, (dimension, kept) in _kept_places(block, shape).items():
            full = f"blocks.{number}.{name}"
            state[full] = state[full].index_select(dimension, kept)
    return state


def _kept_places(block: Block, shape: Shape) -> Parts:
    """By name of a parameter: along which dimension what is kept of it."""
    attention, parameters = block.attention, dict(block.named_parameters())
    inner = attention.heads * attention.size
    of_head = torch.arange(inner).view(attention.heads, attention.size)
    heads = {
        "attention.query.weight": (0, of_head),
        "attention.query.bias": (0, of_head),
        "attention.key_value.weight": (0, torch.cat([of_head, of_head + inner], 1)),
        "attention.key_value.bias": (0, torch.cat([of_head, of_head + inner], 1)),
        "attention.out.weight": (1, of_head),
        "attention.by_place": (1, torch.arange(attention.heads)[:, None]),
        "attention.by_time": (1, torch.arange(attention.heads)[:, None]),
    }
    units = torch.arange(parameters["feed.0.bias"].numel())[:, None]
    hidden = {"feed.0.weight": (0, units), "feed.0.bias": (0, units), "feed.3.weight": (1, units)}
    found = {}
    for parts, kept in ((heads, shape.heads), (hidden, shape.hidden)):
        best = _importance(parameters, parts).topk(kept).indices.sort().values
        for name, (dimension, places) in parts.items():
            chosen = places[best]
            if "key_value" in name:  # keys of all heads, then their values
                chosen = chosen.view(kept, 2, -1).transpose(0, 1)
            found[name] = dimension, chosen.flatten()
    return found


def _importance(parameters: Mapping[str, Tensor], parts: Parts) -> Tensor:
    """What each of P parts matters, [P]."""
    sums = []
    for name, (dimension, places) in parts.items():
        parameter = parameters[name]
        assert parameter.grad is not None
        change = (parameter * parameter.grad).abs().detach().transpose(0, dimension)
        sums.append(change.reshape(len(change), -1).sum(1)[places].sum(1))
    return torch.stack(sums).sum(0)

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engines.bundle import Bundle
from engines.compress.prune import Kept, narrowed, pruned, without_blocks
from engines.models import sasrec
from engines.models.network import SequenceNetwork
from engines.models.plan import Shape
from engines.registry import Registry
from schemas.errors import EngineError
from tests.engines.examples import events, fit
from tests.engines.rule import PLAN, SEEN

SHAPE = Shape(width=16, blocks=2, heads=4, head_width=6, hidden=20)


@pytest.fixture
def network() -> SequenceNetwork:
    torch.manual_seed(0)
    network = SequenceNetwork(SHAPE)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


def told(network: SequenceNetwork) -> torch.Tensor:
    """What a network makes of some histories."""
    torch.manual_seed(1)
    item = torch.randint(0, 9, (5, 12))
    vectors = torch.randn(5, 12, SHAPE.width) * (item != 0)[..., None]
    gap_s = torch.rand(5, 12).cumsum(1).flip(1) * 1000
    with torch.no_grad():
        out: torch.Tensor = network(vectors, item, torch.randint(0, 9, (5, 12)), gap_s, 12)
    return out


def with_gradients(network: SequenceNetwork) -> SequenceNetwork:
    """As if every weight mattered by its size."""
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    return network


def silence_heads(network: SequenceNetwork, *heads: int) -> None:
    """Nothing is heard of them."""
    for block in network.blocks:
        attention = block.attention
        for head in heads:
            places = slice(head * SHAPE.head_width, (head + 1) * SHAPE.head_width)
            inner = SHAPE.heads * SHAPE.head_width
            attention.out.weight.data[:, places] = 0
            for rows in (places, slice(places.start + inner, places.stop + inner)):
                attention.key_value.weight.data[rows] = 0
                attention.key_value.bias.data[rows] = 0
            attention.query.weight.data[places] = 0
            attention.query.bias.data[places] = 0
            attention.by_place.data[:, head] = 0
            attention.by_time.data[:, head] = 0


def silence_units(network: SequenceNetwork, *units: int) -> None:
    for block in network.blocks:
        block.feed[0].weight.data[list(units)] = 0
        block.feed[0].bias.data[list(units)] = 0
        block.feed[3].weight.data[:, list(units)] = 0


@pytest.mark.parametrize("silent", [True, False])
def test_what_says_nothing_is_taken_out_and_nothing_changes(
    network: SequenceNetwork, silent: bool
) -> None:
    if silent:
        silence_heads(network, 0, 2)
        silence_units(network, 3, 7, 19)
    shape = Kept(heads=2, hidden=17).of(SHAPE)
    smaller = SequenceNetwork(shape).eval()
    smaller.load_state_dict(narrowed(with_gradients(network), shape))
    same = torch.allclose(told(smaller), told(network), atol=1e-5)
    assert same == silent


class ByBlocks:
    """A sample whose loss is lower the more a network is like another one."""

    def __init__(self, wanted: torch.Tensor) -> None:
        self.wanted = wanted

    def loss(self, network: SequenceNetwork) -> torch.Tensor:
        return (told(network) - self.wanted).square().mean()


@pytest.mark.parametrize("idle", [0, 1])
def test_the_block_goes_that_is_missed_least(network: SequenceNetwork, idle: int) -> None:
    block = network.blocks[idle]
    for layer in (block.attention.out, block.feed[3]):
        layer.weight.data.zero_()
        layer.bias.data.zero_()
    less = without_blocks(network, 1, ByBlocks(told(network)))  # type: ignore[arg-type]
    assert less.shape == replace(SHAPE, blocks=1)
    assert torch.allclose(told(less), told(network), atol=1e-6)


@pytest.mark.parametrize("kept", [Kept(heads=0), Kept(heads=5), Kept(blocks=3), Kept(hidden=21)])
def test_more_than_there_is_cannot_be_kept(kept: Kept) -> None:
    with pytest.raises(EngineError, match=r"cannot be kept[\s\S]*1 to"):
        kept.of(SHAPE)


def test_a_smaller_engine_goes_on_from_the_weights_of_its_parent(
    engine: Bundle, tmp_path: Path
) -> None:
    plan = replace(PLAN, fit=replace(PLAN.fit, epochs=1, learning_rate=1e-6))
    draft = pruned(engine, SEEN, plan, Kept(blocks=1, heads=1, hidden=40))
    child = Registry(tmp_path).add(draft, "child")
    assert child.manifest.parent == engine.label
    shape = sasrec.of_bundle(child).network.shape
    assert (shape.width, shape.blocks, shape.heads, shape.hidden) == (16, 1, 1, 40)
    assert len(child.weights) < 0.6 * len(engine.weights)
    # With steps of next to nothing the item vectors are still those of the parent.
    size = len(engine.catalogue) + 1
    before, after = (bundle.tables["item_vectors"][:size] for bundle in (engine, child))
    assert np.abs(before - after).max() < 1e-3


def test_an_engine_without_a_network_is_refused(tmp_path: Path) -> None:
    other = Registry(tmp_path).add(fit(events("abc", "abd")).draft(), "other")
    with pytest.raises(EngineError, match=r"cannot be taken up[\s\S]*cooccurrence"):
        pruned(other, SEEN, PLAN, Kept(heads=1))


def test_an_engine_whose_weights_are_of_another_shape_is_refused(
    engine: Bundle, tmp_path: Path
) -> None:
    parameters = {**engine.manifest.parameters, "hidden": 8}
    spoiled = replace(
        engine, manifest=engine.manifest.model_copy(update={"parameters": parameters})
    )
    with pytest.raises(EngineError, match="cannot be taken up"):
        pruned(spoiled, SEEN, PLAN, Kept(heads=1))

"""What an event is told of those before it, and of nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from engines.models.network import SequenceNetwork, hats
from engines.models.plan import Shape

LENGTH = 6
Inputs = tuple[Tensor, Tensor, Tensor, Tensor]


@pytest.fixture(scope="module", params=[1, 2, 3])
def network(request: pytest.FixtureRequest) -> SequenceNetwork:
    torch.manual_seed(0)
    network = SequenceNetwork(Shape.of_width(16, blocks=request.param)).eval()
    for parameter in network.parameters():  # the biases begin at 0, and would hide a mistake
        torch.nn.init.normal_(parameter, std=0.3)
    return network


def history(seed: int = 0) -> Inputs:
    """vectors, item, event_type and gap_s of one history."""
    torch.manual_seed(seed)
    gap_s = torch.tensor([[900.0, 500.0, 30.0, 20.0, 5.0, 0.0]])
    item = torch.tensor([[1, 2, 3, 4, 5, 6]])
    return torch.randn(1, LENGTH, 16), item, torch.full_like(item, 3), gap_s


@torch.no_grad()
def told(network: SequenceNetwork, inputs: Inputs, asked: int = LENGTH) -> Tensor:
    return network(*inputs, asked)[0]


@pytest.mark.parametrize("changed", ["vectors", "event_type"])
def test_an_event_is_told_nothing_of_those_after_it(network: SequenceNetwork, changed: str) -> None:
    before = told(network, history())
    vectors, item, event_type, gap_s = history()
    # Not by a number added: what all numbers of an event share is normed away.
    {"vectors": vectors, "event_type": event_type}[changed][:, 3] *= (
        -1 if changed == "vectors" else 2
    )
    after = told(network, (vectors, item, event_type, gap_s))
    assert torch.equal(before[:3], after[:3])
    assert not torch.isclose(before[3:], after[3:]).all(1).any()


def test_gaps_count_as_differences(network: SequenceNetwork) -> None:
    """In training a window goes on after an event, in serving it ends there."""
    vectors, item, event_type, gap_s = history()
    whole = told(network, (vectors, item, event_type, gap_s))
    cut = (vectors[:, :4], item[:, :4], event_type[:, :4], gap_s[:, :4] - gap_s[:, 3])
    assert torch.allclose(whole[:4], told(network, cut, 4), atol=1e-5)
    other = told(network, (vectors, item, event_type, gap_s * 7))
    assert not torch.allclose(whole[1:], other[1:], atol=1e-4)


def test_the_newest_alone_is_told_the_same(network: SequenceNetwork) -> None:
    whole = told(network, history())
    assert torch.allclose(whole[-1:], told(network, history(), 1), atol=1e-5)


def test_an_unknown_item_is_not_looked_at(network: SequenceNetwork) -> None:
    vectors, item, event_type, gap_s = history()
    item[:, 1] = 0
    before = told(network, (vectors, item, event_type, gap_s))
    vectors[:, 1] *= -1
    after = told(network, (vectors, item, event_type, gap_s))
    assert torch.equal(before[2:], after[2:])


def test_pads_before_a_history_change_nothing(network: SequenceNetwork) -> None:
    vectors, item, event_type, gap_s = history()
    padded = tuple(
        torch.nn.functional.pad(tensor, (0,) * (2 * (tensor.dim() - 2)) + (3, 0))
        for tensor in (vectors, item, event_type, gap_s)
    )
    assert torch.allclose(
        told(network, history()),
        told(network, padded, LENGTH),
        atol=1e-5,  # type: ignore[arg-type]
    )


def test_order_counts(network: SequenceNetwork) -> None:
    vectors, item, event_type, gap_s = history()
    turned = vectors[:, [1, 0, 2, 3, 4, 5]]
    whole = told(network, (vectors, item, event_type, gap_s), 1)
    assert not torch.allclose(whole, told(network, (turned, item, event_type, gap_s), 1), atol=1e-3)


def test_times_lie_between_two_knots() -> None:
    seconds = torch.tensor([0.0, 0.4, 3.0, 1e3, 1e9, 1e12])
    near = hats(seconds).numpy()
    assert near.sum(1) == pytest.approx(1)
    assert ((near > 0).sum(1) <= 2).all()
    assert near[0, 0] == near[2, 1] == near[5, -1] == 1
    # No jump anywhere: a rounding error of a runtime cannot change much.
    moved = hats(torch.linspace(0, 100, 10_001)).numpy()
    assert np.abs(np.diff(moved, axis=0)).max() < 0.01

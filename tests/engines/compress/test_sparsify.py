from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load

from engines.bundle import Bundle
from engines.compress.sparsify import largest, sparsified, two_of_four
from tests.engines.rule import PLAN, SEEN


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 9))
def test_two_of_each_four_stay_and_they_are_the_largest(rows: int, fours: int, seed: int) -> None:
    matrix = torch.randn(rows, 4 * fours, generator=torch.Generator().manual_seed(seed))
    groups = two_of_four(matrix).view(-1, 4)
    assert groups.sum(1).tolist() == [2] * len(groups)
    sizes = matrix.abs().view(-1, 4)
    least = sizes.masked_fill(~groups, torch.inf).amin(1)
    assert (least >= sizes.masked_fill(groups, -torch.inf).amax(1)).all()


@given(st.integers(1, 9), st.integers(1, 9), st.floats(0.1, 0.9))
def test_of_a_share_the_largest_stay(rows: int, columns: int, share: float) -> None:
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows))
    mask = largest(matrix, share)
    assert int((~mask).sum()) == round((1 - share) * matrix.numel())
    sizes = matrix.abs()
    assert sizes[mask].amin() >= sizes[~mask].amax() if (~mask).any() and mask.any() else True


@pytest.mark.parametrize("share", [0.75, None])
def test_what_was_taken_away_stays_away_and_the_rest_is_fitted(
    engine: Bundle, share: float | None
) -> None:
    before = load(engine.weights)
    after = load(sparsified(engine, SEEN, PLAN, share).weights)
    assert before.keys() == after.keys()
    for name in (name for name in after if name.endswith(("query.weight", "feed.0.weight"))):
        zeros = after[name] == 0
        assert zeros.mean() == pytest.approx(share or 0.5, abs=0.01)
        assert not (before[name] == 0).any()
        assert (after[name] != before[name])[~zeros].any()
        if share is None:
            assert (zeros.reshape(-1, 4).sum(1) >= 2).all()
    biases = [name for name in after if name.endswith("bias")]
    assert all(np.count_nonzero(after[name]) for name in biases)

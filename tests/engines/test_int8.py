from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from engines.int8 import quantized

matrices = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, max_side=9),
    elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False),
)


@given(matrices, st.sampled_from([0, 1]))
def test_a_number_is_off_by_half_a_step_at_most(values: NDArray[np.float32], axis: int) -> None:
    numbers, scale = quantized(values, axis)
    assert numbers.dtype == np.int8
    assert numbers.min() >= -127
    assert scale.shape == (values.shape[axis],)
    steps = scale[:, None] if axis == 0 else scale
    assert (np.abs(numbers * steps - values) <= steps * 0.501).all()


@given(matrices)
def test_the_largest_of_each_row_takes_the_whole_range(values: NDArray[np.float32]) -> None:
    highest = np.abs(quantized(values, axis=0)[0]).max(axis=1)
    assert (highest[np.abs(values).max(axis=1) > 1e-30] == 127).all()

"""Numbers as int8 with a float32 scale for each row or column, in a quarter of the bytes.

    value ~ int8 * scale        scale = the largest magnitude of its row / 127

A table that is stored so lies beside its scales: ``item_vectors`` int8 [C, D] and
``item_vectors_scale`` float32 [C].
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

HIGHEST = 127
"""-128 stays unused: a range that is the same on both sides needs no zero point."""


def quantized(values: NDArray[Any], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A matrix as int8 and its scales, one for each index along ``axis``.

    >>> numbers, scale = quantized(np.array([[127, -4], [0, 0], [254, 10]], np.float32), axis=0)
    >>> numbers.tolist(), scale.tolist()
    ([[127, -4], [0, 0], [127, 5]], [1.0, 1.0, 2.0])
    """
    ends = (end(axis=1 - axis, keepdims=True) for end in (values.min, values.max))
    highest = np.maximum(*map(np.abs, ends))
    scale = np.where(highest > 0, highest / np.float32(HIGHEST), 1).astype(np.float32)
    numbers = values / scale
    return np.rint(numbers, out=numbers).astype(np.int8), scale.ravel()


def scale_of(table: str) -> str:
    """The table with the scales of another."""
    return f"{table}_scale"

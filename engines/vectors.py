"""Tables of vectors, a row each, in one of the ways in which they can be stored.

name  float32 or float16 [C, D]                              the numbers
name  int8 [C, D]    name_scale      float32 [C]             see `engines.int8`
name  int8 [C, M]    name_codebooks  float32 [M * K, D / M]  see `engines.product_codes`
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.int8 import quantized, scale_of
from engines.product_codes import codebooks_of, decoded, encoded

Tables = Mapping[str, NDArray[Any]]


def rows_of(tables: Tables, name: str, rows: Any) -> NDArray[np.float32]:
    """Rows of a table of vectors as float32 [..., D], however it is stored."""
    found = tables[name][rows]
    if codebooks_of(name) in tables:
        return decoded(found, tables[codebooks_of(name)])
    vectors: NDArray[np.float32] = found.astype(np.float32)
    if scale_of(name) in tables:
        vectors *= tables[scale_of(name)][rows][..., None]
    return vectors


def set_row(tables: Tables, name: str, row: int, values: NDArray[np.float32]) -> None:
    """Replace one row of a table of vectors by float32 values [D], however it is stored."""
    if codebooks_of(name) in tables:
        tables[name][row] = encoded(values[None], tables[codebooks_of(name)])[0]
    elif scale_of(name) in tables:
        numbers, scale = quantized(values[None], axis=0)
        tables[name][row], tables[scale_of(name)][row] = numbers[0], scale[0]
    else:
        tables[name][row] = values

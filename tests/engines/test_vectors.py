"""A table of vectors is read and written alike, however it is stored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.int8 import scale_of
from engines.product_codes import LOWEST, codebooks_of
from engines.vectors import rows_of, set_row

ROW = np.array([0.6, 0, -0.8, 0], np.float32)
BOOKS = np.array([[0, 0], [0.6, 0], [0, 1], [0, 0], [1, 0], [-0.8, 0]], np.float32)
STORED: dict[str, dict[str, NDArray[Any]]] = {
    "float32": {"t": np.zeros((4, 4), np.float32)},
    "float16": {"t": np.zeros((4, 4), np.float16)},
    "int8": {"t": np.zeros((4, 4), np.int8), scale_of("t"): np.ones(4, np.float32)},
    "codes": {"t": np.full((4, 2), LOWEST, np.int8), codebooks_of("t"): BOOKS},
}


@pytest.mark.parametrize("stored", STORED)
def test_a_row_is_read_as_it_was_set(stored: str) -> None:
    tables = {name: table.copy() for name, table in STORED[stored].items()}
    set_row(tables, "t", 2, ROW)
    assert rows_of(tables, "t", [2, 0])[0] == pytest.approx(ROW, abs=0.004)
    assert rows_of(tables, "t", 2) == pytest.approx(ROW, abs=0.004)
    assert rows_of(tables, "t", slice(None)).dtype == np.float32
    assert not rows_of(tables, "t", [0, 1, 3]).any()


@pytest.mark.parametrize("stored", STORED)
def test_a_row_can_be_made_zero_again(stored: str) -> None:
    tables = {name: table.copy() for name, table in STORED[stored].items()}
    set_row(tables, "t", 1, ROW)
    set_row(tables, "t", 1, np.zeros(4, np.float32))
    assert not rows_of(tables, "t", slice(None)).any()

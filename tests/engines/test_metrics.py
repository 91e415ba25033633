from __future__ import annotations

import doctest

import numpy as np
import pytest

from engines import metrics


def test_the_worked_examples_hold() -> None:
    result = doctest.testmod(metrics)
    assert result.attempted >= 8
    assert result.failed == 0


def test_the_last_place_of_a_list_counts_and_the_next_does_not() -> None:
    assert metrics.hit_rate(np.array([10]), 10) == 1
    assert metrics.hit_rate(np.array([11]), 10) == 0
    assert metrics.ndcg(np.array([10]), 10) == pytest.approx(1 / np.log2(11))


def test_metrics_of_empty_lists_are_0() -> None:
    nothing = metrics.exposure(np.zeros((3, 10), np.int64), 5)
    assert nothing.tolist() == [0] * 5
    assert metrics.coverage(nothing) == metrics.gini(nothing) == 0
    assert metrics.novelty(nothing, np.ones(5)) == 0

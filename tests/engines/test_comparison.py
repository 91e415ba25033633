from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines import comparison
from engines.comparison import (
    bootstrap_interval,
    overlap_at_k,
    popularity_deciles,
    rank_biased_overlap,
    shared_by_depth,
    total_variation,
)

K = 6
RANKINGS = st.lists(st.integers(1, 12), unique=True, max_size=K)
COUNTS = st.lists(st.integers(0, 1000), min_size=4, max_size=4).map(np.array)


def lists(*rankings: list[int]) -> NDArray[np.uint64]:
    return np.array([[*one, *[0] * (K - len(one))] for one in rankings], np.uint64)


def test_the_worked_examples_hold() -> None:
    result = doctest.testmod(comparison)
    assert result.attempted >= 10
    assert result.failed == 0


@given(RANKINGS, RANKINGS)
def test_agreement_lies_between_0_and_1_and_has_no_direction(
    one: list[int], other: list[int]
) -> None:
    for measure in (overlap_at_k, rank_biased_overlap):
        (value,) = measure(lists(one), lists(other))
        assert 0 <= value <= 1
        assert value == pytest.approx(measure(lists(other), lists(one))[0])


@given(RANKINGS)
def test_a_list_agrees_with_itself(one: list[int]) -> None:
    assert overlap_at_k(lists(one), lists(one)) == [1.0]
    assert rank_biased_overlap(lists(one), lists(one)) == pytest.approx([1.0])


@given(RANKINGS.filter(bool))
def test_lists_of_other_items_do_not_agree(one: list[int]) -> None:
    others = [item + 100 for item in one]
    assert overlap_at_k(lists(one), lists(others)) == [0.0]
    assert rank_biased_overlap(lists(one), lists(others)) == [0.0]
    assert rank_biased_overlap(lists(one), lists([])) == [0.0]


def rbo_ext(one: list[int], other: list[int], p: float) -> float:
    """Equation 32 of Webber, Moffat and Zobel, term by term."""
    short, long = sorted((one, other), key=len)
    s, l = len(short), len(long)  # noqa: E741 - as in the paper
    x = {d: len(set(short[:d]) & set(long[:d])) for d in range(l + 1)}
    within = sum(x[d] / d * p**d for d in range(1, l + 1))
    below = sum(x[s] * (d - s) / (s * d) * p**d for d in range(s + 1, l + 1))
    return (1 - p) / p * (within + below) + ((x[l] - x[s]) / l + x[s] / s) * p**l


@given(RANKINGS.filter(bool), RANKINGS.filter(bool), st.floats(0.1, 0.99))
def test_rank_biased_overlap_is_the_published_formula(
    one: list[int], other: list[int], p: float
) -> None:
    found = rank_biased_overlap(lists(one), lists(other), p)
    assert found == pytest.approx([rbo_ext(one, other, p)])


def test_a_swap_at_the_top_counts_more_than_one_at_the_end() -> None:
    whole = lists([1, 2, 3, 4, 5, 6])
    top, end = lists([2, 1, 3, 4, 5, 6]), lists([1, 2, 3, 4, 6, 5])
    assert rank_biased_overlap(whole, top) < rank_biased_overlap(whole, end)
    assert overlap_at_k(whole, top) == overlap_at_k(whole, end) == [1.0]


def test_ends_of_lists_are_no_shared_items() -> None:
    assert shared_by_depth(lists([1]), lists([2])).tolist() == [[0] * K]


@given(COUNTS, COUNTS)
def test_total_variation_is_a_distance(one: NDArray[np.int64], other: NDArray[np.int64]) -> None:
    assert 0 <= total_variation(one, other) <= 1
    assert total_variation(one, other) == pytest.approx(total_variation(other, one))
    assert total_variation(one, one) == 0
    assert total_variation(one, 3 * one) == pytest.approx(0)


def test_exposure_of_others_alone_is_wholly_shifted() -> None:
    assert total_variation(np.array([5, 0]), np.array([0, 2])) == 1
    assert total_variation(np.array([5, 0]), np.array([0, 0])) == 1
    assert total_variation(np.array([0, 0]), np.array([0, 0])) == 0


@given(st.lists(st.integers(0, 50), min_size=1, max_size=80))
def test_deciles_go_from_the_popular_to_the_rare(popularity: list[int]) -> None:
    deciles = popularity_deciles(np.array(popularity, float))
    assert set(deciles.tolist()) <= set(range(1, 11))
    for item, count in enumerate(popularity):
        assert all(deciles[item] <= deciles[np.array(popularity) < count])


def test_equal_items_fill_the_deciles_evenly() -> None:
    assert np.bincount(popularity_deciles(np.ones(50))).tolist() == [0] + [5] * 10
    assert popularity_deciles(np.zeros(3)).tolist() == [1, 1, 1]


def test_an_interval_holds_the_mean_in_19_of_20_samples() -> None:
    chance = np.random.default_rng(0)
    held = 0
    for seed in range(100):
        low, high = bootstrap_interval(chance.exponential(1.0, (200, 1)), seed, resamples=300)
        held += int(low[0] <= 1.0 <= high[0])
    assert 88 <= held <= 99


def test_a_paired_difference_is_surer_than_its_two_sides() -> None:
    chance = np.random.default_rng(0)
    users = chance.random(500)  # some are easy, some are hard, for both engines alike
    better = users + 0.01 + chance.normal(0, 0.01, 500)
    low, high = bootstrap_interval(np.stack([users, better, better - users], axis=1), seed=1)
    assert low[2] > 0
    assert high[2] - low[2] < (high[0] - low[0]) / 10
    assert low[1] < high[0]  # side by side they could not be told apart


def test_the_seed_decides() -> None:
    values = np.random.default_rng(0).random((50, 2))
    first, again, other = (np.stack(bootstrap_interval(values, seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)

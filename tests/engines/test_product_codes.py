"""Codes stand for the nearest that the codebooks have; others would stand for something far off."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines.product_codes import LOWEST, decoded, encoded

seeds = st.integers(0, 1 << 30)


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def books_of(random: np.random.Generator, parts: int, count: int, size: int) -> NDArray[np.float32]:
    """Of random centroids, the first of each part zero."""
    books = random.normal(size=(parts, count, size)) / np.sqrt(parts * size)
    books[:, 0] = 0
    return books.reshape(-1, size).astype(np.float32)


def parts_of(vectors: NDArray[np.float32], parts: int) -> NDArray[np.float32]:
    return vectors.reshape(len(vectors), parts, -1)


@given(seeds, st.integers(1, 4), st.integers(2, 256), st.integers(1, 5))
def test_no_other_centroid_is_nearer(seed: int, parts: int, count: int, size: int) -> None:
    random = np.random.default_rng(seed)
    books = books_of(random, parts, count, size)
    vectors = random.normal(size=(20, parts * size)).astype(np.float32)
    codes = encoded(vectors, books)
    away = parts_of(vectors, parts)[:, :, None] - books.reshape(1, parts, count, size)
    distances = (away**2).sum(3)
    chosen = np.take_along_axis(distances, codes[:, :, None].astype(int) - LOWEST, 2)
    assert (chosen[:, :, 0] <= distances.min(2) + 1e-4).all()


@given(seeds, st.integers(1, 6), st.integers(1, 256))
def test_what_lies_in_the_codebooks_comes_back_and_zero_stays_zero(
    seed: int, parts: int, count: int
) -> None:
    random = np.random.default_rng(seed)
    books = books_of(random, parts, count, 3)
    picked = random.integers(0, count, (20, parts))
    picked[0] = 0
    sums = books.reshape(parts, count, 3)[np.arange(parts), picked].reshape(20, -1)
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    restored = decoded(encoded(sums, books), books)
    np.testing.assert_allclose(restored * length, sums, atol=1e-5)
    assert not restored[0].any()


@given(seeds)
def test_many_centroids_bound_the_error_and_shuffled_codes_do_not(seed: int) -> None:
    """Each number lies within half a step of one of 255, and its vector so near as that says."""
    random = np.random.default_rng(seed)
    step = 2 / 254
    book = np.concatenate([[0], np.linspace(-1, 1, 255)]).astype(np.float32)
    books = np.tile(book, 8)[:, None]
    vectors = unit(random.normal(size=(50, 8)))
    codes = encoded(vectors, books)
    bound = 2 * np.sqrt(8) * step / 2  # twice, as it is made one long again
    errors = np.linalg.norm(decoded(codes, books) - vectors, axis=1)
    assert (errors <= bound).all()
    shuffled = np.linalg.norm(decoded(random.permutation(codes), books) - vectors, axis=1)
    assert np.median(shuffled) > 10 * bound


def test_more_vectors_than_are_held_at_once_have_the_codes_that_each_has_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(0)
    books = books_of(random, 2, 9, 2)
    vectors = unit(random.normal(size=(25, 4)))
    whole = encoded(vectors, books)
    monkeypatch.setattr("engines.product_codes.AT_ONCE", 7)
    assert (encoded(vectors, books) == whole).all()
    assert (np.concatenate([encoded(row[None], books) for row in vectors]) == whole).all()

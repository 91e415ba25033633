"""Lists by candidates against lists by a row of all scores: the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines.backends.base import RankedBatch
from engines.backends.onnx import OnnxBackend
from engines.bundle import Bundle
from engines.models import cooccurrence, cooccurrence_candidates
from engines.models.cooccurrence import CooccurrenceModel
from engines.models.cooccurrence_graph import LAST
from engines.registry import Registry
from tests.engines.examples import random_model

EXCLUDED = 6
USERS = 64
Inputs = dict[str, NDArray[np.int64]]


def made(items: int, width: int, seed: int) -> CooccurrenceModel:
    """Neighbours by chance, the first items' above all; few weights and popularities, so many tie.

    The catalogue is not in the order of its popularity, as none of a part of a log need be.
    """
    like, random = random_model(items, users=1), np.random.default_rng(seed)
    shape = items + 1, width
    distinct = random.random((items + 1, items)).argsort(axis=1)[:, :width] + 1
    neighbours = np.zeros(shape, np.int32)
    neighbours[:, : distinct.shape[1]] = distinct
    weights = random.choice(np.array([0, 0.1, 0.3, 0.7], np.float32), shape)
    neighbours[weights == 0] = 0
    neighbours[0], weights[0] = 0, 0
    popularity = random.integers(1, 4, items + 1).astype(np.float64)
    popularity[0] = 0
    return CooccurrenceModel(like.catalogue, neighbours, weights, popularity, like.training)


def users(items: int, seed: int) -> Inputs:
    """Few different events and excluded items, so that they meet."""
    random = np.random.default_rng(seed)
    few = min(items, 12) + 1
    return {
        "item": random.integers(0, few, (USERS, LAST)),
        "event_type": random.integers(0, 12, (USERS, LAST)),
        "excluded": random.integers(0, few, (USERS, EXCLUDED)),
    }


def best(prior: NDArray[Any], number: int) -> NDArray[np.int64]:
    return np.argsort(-prior, kind="stable")[:number]


def listed(bundle: Bundle, asked: Inputs) -> RankedBatch:
    with OnnxBackend(bundle) as backend:
        return backend.run(asked)


def both(
    folder: Path, model: CooccurrenceModel, asked: Inputs, k: int
) -> tuple[RankedBatch, RankedBatch]:
    """The lists by a row of all scores, and those by candidates."""
    found = []
    for whole_row in (len(model.popularity), 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cooccurrence, "WHOLE_ROW", whole_row)
            draft = model.draft(batch=16, k=k, excluded_slots=EXCLUDED)
        assert bool(draft.tables) == (whole_row == 0)
        found.append(listed(Registry(folder).add(draft, "test"), asked))
    return found[0], found[1]


def bytes_of(ranked: RankedBatch) -> tuple[bytes, bytes, bytes]:
    return ranked.items.tobytes(), ranked.scores.tobytes(), ranked.channels.tobytes()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 12), st.integers(0, 999))
def test_the_lists_are_those_of_all_scores(
    tmp_path_factory: pytest.TempPathFactory, items: int, width: int, k: int, seed: int
) -> None:
    folder, asked = tmp_path_factory.mktemp("store"), users(items, seed)
    whole, candidates = both(folder, made(items, width, seed), asked, k)
    assert bytes_of(candidates) == bytes_of(whole)


def test_the_lists_of_many_users_are_those_of_all_scores(tmp_path: Path) -> None:
    """And what makes it hard is there: ties, sums of several events, lists that end."""
    model = made(40, 5, 1)
    whole, candidates = both(tmp_path, model, users(40, 1), 10)
    assert bytes_of(candidates) == bytes_of(whole)
    assert (np.diff(whole.scores, axis=1) == 0).any()
    assert (whole.scores > model.weights.max()).any()
    assert set(whole.channels.ravel()) == {0, 1}
    short, ended = both(tmp_path / "short", made(12, 5, 1), users(12, 1), 12)
    assert bytes_of(ended) == bytes_of(short)
    assert np.isneginf(short.scores).any()


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda prior, number: np.pad(best(prior, number - EXCLUDED), (0, EXCLUDED)),
        lambda prior, number: np.arange(1, number + 1),
        lambda prior, number: len(prior) - 1 - best(prior[::-1], number),
    ],
    ids=["not those that may be excluded", "not the most popular", "ties to the higher index"],
)
def test_negative_control_other_popular_items_make_other_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoiled: object
) -> None:
    monkeypatch.setattr(cooccurrence_candidates, "most_popular", spoiled)
    asked = users(60, 0)
    asked["excluded"][::2] = best(made(60, 2, 0).popularity, EXCLUDED)
    whole, candidates = both(tmp_path, made(60, 2, 0), asked, 10)
    assert bytes_of(candidates) != bytes_of(whole)


def test_a_place_for_everything_that_could_be_listed() -> None:
    prior = np.array([-np.inf, 1, 3, 3, 2], np.float32)
    assert cooccurrence_candidates.most_popular(prior, 3).tolist() == [2, 3, 4]
    assert cooccurrence_candidates.most_popular(prior, 7).tolist() == [2, 3, 4, 1, 0, 0, 0]

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.backends.onnx import OnnxBackend
from engines.bundle import Bundle
from engines.catalogue import item_hash
from engines.latency import DIFFERENT, by_turns, full_batches
from tests.engines.examples import CLICK, tiny_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Of batches of two users."""
    return Bundle.open(tiny_bundle(tmp_path / "tiny" / "1"))


def histories(*users: str) -> list[list[tuple[int, int, int]]]:
    return [[(item_hash(item), CLICK, n) for n, item in enumerate(user)] for user in users]


def newest(batches: list[Any], bundle: Bundle) -> list[list[str]]:
    """The newest item of each user of each batch."""
    return [
        [str(bundle.catalogue.item_ids[at]) for at in batch["item"][:, -1]] for batch in batches
    ]


def test_batches_are_full_and_users_come_again(bundle: Bundle) -> None:
    batches = full_batches(bundle, histories("ab", "bc", "cd"), [[]] * 3)
    assert newest(batches, bundle) == [["b", "c"], ["d", "b"]]
    for tensor in bundle.manifest.inputs:
        assert all(list(batch[tensor.name].shape) == tensor.shape for batch in batches)
    assert newest(full_batches(bundle, histories("a"), [[]]), bundle) == [["a", "a"]]


def test_what_is_excluded_is_given_too(bundle: Bundle) -> None:
    (batch,) = full_batches(bundle, histories("ab", "bc"), [[item_hash("d")], []])
    index = int(bundle.catalogue.lookup(np.array([item_hash("d")], np.uint64))[0])
    assert batch["excluded"][0].tolist() == [index] + [0] * 63
    assert not batch["excluded"][1].any()


def test_only_so_many_different_users_are_held_in_memory(bundle: Bundle) -> None:
    assert len(full_batches(bundle, histories("ab") * 1000, [[]] * 1000)) == DIFFERENT


class Recorded(OnnxBackend):
    """Writes down which batch it was given."""

    def __init__(self, name: str, runs: list[str]) -> None:
        self.name = name
        self.runs = runs

    def run(self, features: Any) -> Any:
        self.runs.append(f"{self.name}{features['number']}")
        return self.runs[-1]


def test_engines_take_turns_through_their_own_batches() -> None:
    runs: list[str] = []
    batches = [{"number": np.array(n)} for n in range(3)]
    turns = [(Recorded("a", runs), batches[:2]), (Recorded("b", runs), batches)]
    now = map(float, (0, 1, 1, 3, 3, 4, 4, 6, 6, 7, 7, 9))
    found = by_turns(turns, 3, lambda: next(now))
    assert runs == ["a0", "b0", "a1", "b1", "a0", "b2"]
    assert found.took_ms.tolist() == [[1000, 2000]] * 3
    assert found.lists == [["a0", "a1"], ["b0", "b1", "b2"]]


@pytest.mark.parametrize(
    ("rounds", "within_s", "done"), [(20, 100.0, 20), (20, 14.0, 7), (20, 1.0, 5), (3, 1.0, 3)]
)
def test_rounds_end_by_number_or_by_time_but_some_there_are(
    rounds: int, within_s: float, done: int
) -> None:
    ticks, told = count(), list[int]()
    turns = [(Recorded(name, []), [{"number": np.array(0)}]) for name in "ab"]  # 2 s a round
    found = by_turns(turns, rounds, lambda: next(ticks), within_s=within_s, told=told.append)
    assert found.took_ms.shape == (done, 2)
    assert told == list(range(1, done + 1))


def test_a_real_engine_is_timed(bundle: Bundle) -> None:
    ticks = count()
    with OnnxBackend(bundle) as backend:
        turns = [(backend, full_batches(bundle, histories("ab"), [[]]))]
        found = by_turns(turns, 4, lambda: next(ticks))
    assert found.took_ms.tolist() == [[1000.0]] * 4
    assert [ranked.items.shape for ranked in found.lists[0]] == [(2, 3)]

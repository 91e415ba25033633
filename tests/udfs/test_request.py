"""Requests taken apart again: what an engine sees of them is what it sees of the profiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.features import Histories
from pipeline.replay.fold import profile_hash
from schemas.profile import HEADER_DTYPE
from tests.engines.examples import random_profiles
from tests.udfs.requests import packed_request, profile_with
from udfs.request import HEAD_DTYPE, Requests

ROWS = 200


@pytest.fixture(scope="module")
def profiles() -> NDArray[np.void]:
    found = random_profiles(ROWS, items=40)
    found["version"] = np.arange(ROWS)
    found["recent"] = 7  # never sent
    return found


@pytest.fixture(scope="module")
def requests(profiles: NDArray[np.void]) -> Requests:
    return Requests.unpack(
        [packed_request(one.tobytes(), offset=offset) for offset, one in enumerate(profiles)]
    )


def same(found: Histories, expected: Histories) -> bool:
    return all(
        np.array_equal(getattr(found, name), value) for name, value in vars(expected).items()
    )


@pytest.mark.parametrize("slots", [1, 8, 50])
def test_histories_are_those_of_the_profiles(
    requests: Requests, profiles: NDArray[np.void], slots: int
) -> None:
    assert same(requests.histories(slots), Histories.of(profiles, slots))
    assert not same(requests.histories(slots), Histories.of(profiles[::-1], slots))


@pytest.mark.parametrize("rows", [[5], [9, 3, 3], slice(20, 60), [], slice(0, 0)])
def test_rows_taken_are_those_rows(
    requests: Requests, profiles: NDArray[np.void], rows: slice | list[int]
) -> None:
    part = requests[np.array(rows, int) if isinstance(rows, list) else rows]
    kept = profiles[rows]
    assert len(part) == len(kept)
    assert part.heads["profile"]["version"].tolist() == kept["version"].tolist()
    assert same(part.histories(8), Histories.of(kept, 8))


def test_the_head_has_header_and_hash_of_the_profile(
    requests: Requests, profiles: NDArray[np.void]
) -> None:
    for head, profile in zip(requests.heads, profiles, strict=True):
        packed = profile.tobytes()
        assert head["profile"].tobytes() == packed[: HEADER_DTYPE.itemsize]
        assert head["profile_hash"].tobytes() == profile_hash(packed)


def test_no_requests_are_no_rows() -> None:
    requests = Requests.unpack([])
    assert len(requests) == len(requests.heads) == len(requests.histories(8).lengths) == 0


GOOD = packed_request(profile_with(history_len=2, excluded_len=1))


@pytest.mark.parametrize(
    "bad", [b"", GOOD[:-1], GOOD[:-8], GOOD + bytes(8), GOOD[: HEAD_DTYPE.itemsize - 8], bytes(3)]
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_request_of_the_wrong_length_is_refused(bad: bytes, place: int) -> None:
    packed: Sequence[bytes] = [GOOD] * 2
    assert len(Requests.unpack(packed)) == 2
    with pytest.raises(ValueError, match="bytes"):
        Requests.unpack([*packed[:place], bad, *packed[place:]])

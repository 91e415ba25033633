"""The fast encoder gives the bytes that Avro gives, to the last one."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from engines.backends.base import RankedBatch
from pipeline.replay.fold import profile_hash
from schemas import codec
from schemas.profile import PROFILE_BYTES
from tests.udfs.requests import packed_request
from udfs.encode import EngineStamp, ListEncoder, long
from udfs.request import Action, Requests

LONGS = st.integers(-(2**63), 2**63 - 1)
INTS = st.integers(-(2**31), 2**31 - 1)
IDS = st.text(st.characters(codec="utf-8"), max_size=40) | st.text("aé漢😀", min_size=20)
PROFILES = st.binary(min_size=1, max_size=64).map(
    lambda some: (some * PROFILE_BYTES)[:PROFILE_BYTES]
)
CHANNELS = ("cooccurrence", "popularity", "ähnlich")
HEADER = codec.header("recommendation_list")
K = 5
NEIGHBOUR: dict[str, Any] = {
    "user_id": "a neighbour with a longer name than most, and other numbers",
    "profile": b"\7" * PROFILE_BYTES,
    "user_epoch": 2**40,
    "version": 1,
    "cause": "rerank",
    "source_partition": 2,
    "source_offset": 2**50,
    "event_time": -1,
}


@st.composite
def lists(draw: st.DrawFn) -> dict[str, Any]:
    """What a list is made of: the record's plain fields, and n <= K ranked items."""
    catalogue = draw(st.lists(IDS, min_size=1, max_size=8))
    ranked = st.tuples(
        st.integers(0, len(catalogue) - 1),
        st.floats(width=32, allow_nan=False, allow_infinity=False),
        st.integers(0, len(CHANNELS) - 1),
    )
    return {
        "stamp": EngineStamp(
            header=HEADER,
            engine=draw(IDS),
            digest=draw(st.binary(min_size=32, max_size=32)),
            seq=draw(LONGS),
            runtime=draw(st.binary(min_size=8, max_size=8)),
            job_epoch=draw(LONGS),
            degrade_level=draw(INTS),
        ),
        "catalogue": catalogue,
        "ranked": draw(st.lists(ranked, max_size=K)),
        "profile": draw(PROFILES),
        "user_id": draw(IDS),
        "user_epoch": draw(LONGS),
        "version": draw(LONGS),
        "cause": draw(st.sampled_from(["event", "rerank"])),
        "source_partition": draw(INTS),
        "source_offset": draw(LONGS),
        "event_time": draw(LONGS),
        "generated_at": draw(LONGS),
    }


def fast(one: dict[str, Any], neighbours: int = 0) -> bytes:
    """By ``ListEncoder``; the list is the last of a batch, after ``neighbours`` full ones."""
    encoder = ListEncoder(one["stamp"], one["catalogue"], CHANNELS)
    items = np.zeros((neighbours + 1, K), np.int64)
    scores = np.ones((neighbours + 1, K), np.float32)
    channels = np.zeros((neighbours + 1, K), np.int64)
    scores[-1] = -np.inf
    for place, row in enumerate(one["ranked"]):
        items[-1, place], scores[-1, place], channels[-1, place] = row
    rows = [*([NEIGHBOUR] * neighbours), one]
    requests = Requests.unpack([request(row) for row in rows])
    users = [row["user_id"] for row in rows]
    ranked = RankedBatch(items, scores, channels)
    return encoder.encode(users, requests, ranked, one.get("generated_at"))[-1]


def profile(one: dict[str, Any]) -> bytes:
    """The packed profile, with its epoch and version where the layout has them."""
    packed = bytearray(one["profile"])
    # A length of each list that its slots allow, and numbers of the list's.
    struct.pack_into("<HHH", packed, 2, packed[2] % 51, packed[4] % 65, packed[6] % 65)
    struct.pack_into("<qq", packed, 8, one["user_epoch"], one["version"])
    return bytes(packed)


def request(one: dict[str, Any]) -> bytes:
    cause = {"event": 1, "rerank": 2}[one["cause"]]
    where = (one["source_partition"], one["source_offset"], one["event_time"])
    return packed_request(profile(one), Action.LIST, cause, *where)


def slow(one: dict[str, Any]) -> bytes:
    """By the general encoder."""
    stamp = one["stamp"]
    same = (*NEIGHBOUR.keys() - {"profile"}, "generated_at")
    return codec.encode(
        "recommendation_list",
        {name: one[name] for name in same}
        | {
            "engine": stamp.engine,
            "engine_digest": stamp.digest,
            "engine_seq": stamp.seq,
            "runtime": stamp.runtime,
            "job_epoch": stamp.job_epoch,
            "degrade_level": stamp.degrade_level,
            "events_digest": profile(one)[24:40],
            "profile_hash": xxhash.xxh3_128_intdigest(profile(one)).to_bytes(16, "little"),
            "items": [
                {
                    "item_id": one["catalogue"][item],
                    "score": score,
                    "reason": CHANNELS[channel],
                }
                for item, score, channel in one["ranked"]
            ],
        },
    )


EXAMPLE: dict[str, Any] = {
    "stamp": EngineStamp(HEADER, "shop@3", b"\1" * 32, 7, b"\2" * 8, 1_700_000_000_000),
    "catalogue": ["", "lamp", "étagère", "漢字", "kettle"],
    "ranked": [(2, 0.75, 0), (3, 0.5, 0), (1, -0.25, 1)],
    "profile": bytes(range(256)) * 9 + bytes(PROFILE_BYTES - 2304),
    "user_id": "usér-1",
    "user_epoch": 1,
    "version": 300,
    "cause": "event",
    "source_partition": 3,
    "source_offset": 123_456_789,
    "event_time": 1_700_000_000_123,
    "generated_at": 1_700_000_000_150,
}


@given(one=lists(), neighbours=st.integers(0, 3))
def test_the_bytes_are_those_of_the_general_encoder(one: dict[str, Any], neighbours: int) -> None:
    assert fast(one, neighbours) == slow(one)


@given(one=lists())
def test_what_was_encoded_is_canonical_and_decodes(one: dict[str, Any]) -> None:
    record = codec.decode("recommendation_list", fast(one), canonical=True)
    listed = [(item["item_id"], item["score"], item["reason"]) for item in record["items"]]
    expected = [(one["catalogue"][i], score, CHANNELS[c]) for i, score, c in one["ranked"]]
    assert listed == expected
    assert record["user_id"] == one["user_id"]


@pytest.mark.parametrize("count", range(len(EXAMPLE["ranked"]) + 1))
def test_a_list_shorter_than_k_ends_where_the_scores_do(count: int) -> None:
    one = EXAMPLE | {"ranked": EXAMPLE["ranked"][:count]}
    assert fast(one) == slow(one)
    assert len(codec.decode("recommendation_list", fast(one))["items"]) == count


@pytest.mark.parametrize(
    "change",
    [
        {"ranked": [(2, 0.75000006, 0), *EXAMPLE["ranked"][1:]]},  # the next float32
        {"ranked": EXAMPLE["ranked"][:2]},
        {"ranked": EXAMPLE["ranked"][::-1]},
        {"version": 301},
        {"cause": "rerank"},
        {"profile": EXAMPLE["profile"][:-1] + b"\1"},
    ],
)
def test_negative_control_one_change_changes_the_bytes(change: dict[str, Any]) -> None:
    changed = EXAMPLE | change
    assert fast(changed) == slow(changed) != slow(EXAMPLE)


def test_a_list_without_a_time_is_of_now() -> None:
    one = {name: value for name, value in EXAMPLE.items() if name != "generated_at"}
    made = codec.decode("recommendation_list", fast(one))["generated_at"]
    assert made > 1_750_000_000_000  # this test was written later


@pytest.mark.parametrize(
    ("number", "encoded"),
    [  # the table of the Avro specification, then the ends of the range
        (0, "00"),
        (-1, "01"),
        (1, "02"),
        (-2, "03"),
        (2, "04"),
        (-64, "7f"),
        (64, "8001"),
        (-65, "8101"),
        (8192, "808001"),
        (2**31 - 1, "feffffff0f"),
        (-(2**31), "ffffffff0f"),
        (2**63 - 1, "feffffffffffffffff01"),
        (-(2**63), "ffffffffffffffffff01"),
    ],
)
def test_zigzag_vectors(number: int, encoded: str) -> None:
    assert long(number).hex() == encoded


def test_the_digest_and_the_hash_are_those_of_the_profile() -> None:
    packed = profile(EXAMPLE)
    record = codec.decode("recommendation_list", fast(EXAMPLE))
    assert record["events_digest"] == packed[24:40]
    assert record["profile_hash"] == profile_hash(packed)

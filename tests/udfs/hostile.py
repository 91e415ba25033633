"""Kafka records of every kind that a decoder must survive: good, slightly wrong, and noise."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

from schemas.codec import header
from tests.replay.records import START_MS
from tests.udfs.harness import Case

IDS = (
    b"user-000001",
    b"u",
    "Zoë 😀".encode(),
    b"x" * 127,
    b"x" * 128,
    b"x" * 129,
    b"",
    b"tab\t",
    b"nul\x00",
    b"del\x7f",
    b"\x80",  # a lone continuation
    b"\xc0\x80",  # overlong
    b"\xed\xa0\x80",  # half a surrogate pair
    b"\xf5\x80\x80\x80",  # beyond Unicode
    b"caf\xc3",  # cut off
    "\u0085\u2028".encode(),  # controls beyond ASCII are not refused
)
GOOD_IDS = IDS[:5]
TIMES = (START_MS, START_MS - 1, START_MS + 300_000, START_MS + 300_001, 946_684_800_000)
BAD_TIMES = (946_684_799_999, 0, -1, 2**63 - 1, -(2**63))
DOUBLES = (0.0, -0.0, 4.5, 1e-320, 3.4028235677973362e38, 3.4028235677973366e38, 1e300)
BAD_DOUBLES = (float("inf"), float("-inf"), float("nan"))
RECORD_TIMES = (START_MS, START_MS, START_MS, START_MS, -1, 0, 2**63 - 1, -(2**63))


def cases(rng: random.Random, count: int) -> Iterator[Case]:
    """``count`` records: a quarter of them as well-formed as can be."""
    for _ in range(count):
        schema = rng.choice(("user_event", "user_event", "control"))
        user = _id(rng)
        value = (event if schema == "user_event" else order)(rng, user)
        key: bytes | None = user
        if rng.random() < 0.5:
            value = rng.choice(MUTATIONS)(rng, value)
        if rng.random() < 0.05:
            key = rng.choice((None, b"", user + b" ", b"user-000002"))
        yield Case(
            rng.choice(("user_event", "control")) if rng.random() < 0.02 else schema,
            None if rng.random() < 0.01 else value,
            key,
            rng.choice(RECORD_TIMES) if rng.random() < 0.1 else START_MS,
        )


def event(rng: random.Random, user: bytes) -> bytes:
    kind = rng.choice((12, -1, 99)) if rng.random() < 0.02 else rng.randrange(12)
    position = rng.choice((0, 7, -1, 2**31 - 1, -(2**31)))
    return b"".join(
        (
            header("user_event"),
            *(text(rng, content) for content in (_id(rng), user, _id(rng))),
            number(rng, kind),
            number(rng, _time(rng)),
            optional(rng, double(rng)),
            optional(rng, text(rng, _id(rng))),
            optional(rng, text(rng, _id(rng))),
            optional(rng, number(rng, position)),
            optional(rng, text(rng, _id(rng))),
            optional(rng, double(rng)),
        )
    )


def order(rng: random.Random, user: bytes) -> bytes:
    action = number(rng, rng.choice((0, 1, 1, 2, 2, 3)))
    who = text(rng, _id(rng)) + text(rng, user)
    return header("control") + who + action + number(rng, _time(rng))


def number(rng: random.Random, n: int) -> bytes:
    """A 64-bit integer as Avro writes it, zigzag; now and then longer than it need be."""
    shortest = varint((n << 1) ^ (n >> 63))
    if rng.random() < 0.003:
        padding = b"\x80" * rng.randrange(5) + rng.choice((b"\x00", b"\x00", b"\x10", b"\x7f"))
        return shortest[:-1] + bytes([shortest[-1] | 0x80]) + padding
    return shortest


def varint(n: int) -> bytes:
    """7 bits a byte, lowest first."""
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes([*out, n])


def text(rng: random.Random, data: bytes) -> bytes:
    return number(rng, len(data)) + data


def double(rng: random.Random) -> bytes:
    if rng.random() < 0.01:
        return bytes.fromhex("010000000000f07f")  # a signalling NaN
    return struct.pack("<d", rng.choice(BAD_DOUBLES if rng.random() < 0.03 else DOUBLES))


def optional(rng: random.Random, content: bytes) -> bytes:
    """A union of null and something, now and then with a branch that is not there."""
    if rng.random() < 0.005:
        return number(rng, rng.choice((2, -1, 2**31 - 1)))
    return number(rng, 1) + content if rng.random() < 0.4 else number(rng, 0)


def _id(rng: random.Random) -> bytes:
    return rng.choice(IDS if rng.random() < 0.05 else GOOD_IDS)


def _time(rng: random.Random) -> int:
    return rng.choice(BAD_TIMES if rng.random() < 0.05 else TIMES)


def flip_bits(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def insert(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.choice((1, 1, 2, 9))) + data[at:]


def append(rng: random.Random, data: bytes) -> bytes:
    return data + rng.randbytes(rng.choice((1, 3)))


def delete(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + 1 :]


def claim_a_length(rng: random.Random, data: bytes) -> bytes:
    """Put the length of a string that is not there where the first string begins."""
    length = rng.choice((2**31 - 9, 2**31 - 1, 2**31, 2**62, -1, -(2**63), 65_536))
    return data[:10] + number(rng, length) + data[11:]


def claim_a_schema(rng: random.Random, data: bytes) -> bytes:
    start = rng.choice((header("recommendation_list"), b"\xc3\x01" + rng.randbytes(8), b"\x00"))
    return start + data[10:]


def swell(rng: random.Random, data: bytes) -> bytes:
    return data + bytes(rng.choice((65_536, 65_537)) - len(data))


def noise(rng: random.Random, data: bytes) -> bytes:
    return rng.randbytes(rng.randrange(80))


def noise_under_a_header(rng: random.Random, data: bytes) -> bytes:
    return data[:10] + rng.randbytes(rng.randrange(60))


MUTATIONS = (
    *(flip_bits, flip_bits, flip_bits, cut, insert, append, delete, claim_a_length),
    *(claim_a_schema, noise, noise_under_a_header, noise_under_a_header),
)

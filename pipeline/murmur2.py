"""The partition that Kafka's Java producer, and `murmur2_random` of librdkafka, give to a key.

Murmur2 is Austin Appleby's 32-bit hash (public domain), with Kafka's seed.
"""

from __future__ import annotations

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a record with this key, in 0 … partitions - 1.

    >>> partition_of(b"u1", 4)
    0
    """
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(key: bytes) -> int:
    """Murmur2 as an unsigned 32-bit number.

    >>> murmur2(b"21")
    3321034988
    """
    h = _SEED ^ len(key)
    whole = len(key) & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(key[i : i + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    if whole < len(key):
        h = (h ^ int.from_bytes(key[whole:], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15

"""RecommendationList → Avro bytes, a whole batch at a time.

A general encoder costs 12 µs a list. Here a batch is one matrix of bytes: every field in cells as
wide as the longest value, and a mask that drops the padding. The engine's part is encoded once,
each item and reason once. A test holds the result against fastavro byte for byte.

    the same for all │ u s e r - 7 . . │ 82 01 .. .. │ … │ item . . │ score │ reason . │ … k times
                       string, padded    long, padded
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.backends.base import RankedBatch
from udfs.request import Requests

SEVENS = np.arange(0, 70, 7, dtype=np.uint64)
"""How far to shift for each of the ten bytes that a long may take."""


@dataclass(frozen=True, slots=True)
class EngineStamp:
    """What every list of one engine has in common.

    Attributes:
        header: which schema they are written in, see ``schemas/codec.py``.
        engine: ``name@version``.
        digest: SHA-256 of the manifest, 32 bytes.
        seq: activation counter.
        runtime: 8 bytes, see ``EngineBackend.runtime_digest``.
        job_epoch: grows with every job that starts from empty state.
        degrade_level: 0 is the full engine.
    """

    header: bytes
    engine: str
    digest: bytes
    seq: int
    runtime: bytes
    job_epoch: int
    degrade_level: int = 0

    def encode(self) -> bytes:
        return b"".join(
            (
                self.header,
                text(self.engine),
                self.digest,
                long(self.seq),
                self.runtime,
                long(self.job_epoch),
                long(self.degrade_level),
            )
        )


@dataclass(frozen=True, slots=True)
class Cells:
    """Byte strings of different lengths, padded to one width.

    Attributes:
        raw: uint8 ``[..., w]``.
        used: bool ``[..., w]``, False at padding.
    """

    raw: NDArray[np.uint8]
    used: NDArray[np.bool_]

    @classmethod
    def beside(cls, *columns: Cells) -> Cells:
        """Each string of the first followed by that of the second, and so on."""
        raw = np.concatenate([cells.raw for cells in columns], axis=-1)
        return cls(raw, np.concatenate([cells.used for cells in columns], axis=-1))

    def __getitem__(self, at: NDArray[np.int64]) -> Cells:
        return Cells(self.raw.take(at, axis=0), self.used.take(at, axis=0))

    def where(self, wanted: NDArray[np.bool_]) -> Cells:
        """Empty strings where not ``wanted`` ``[...]``."""
        return Cells(self.raw, self.used & wanted[..., None])

    def joined(self) -> Cells:
        """``[n, k]`` strings as ``[n]``: those of a row one after the other."""
        return Cells(self.raw.reshape(len(self.raw), -1), self.used.reshape(len(self.used), -1))

    def strings(self, prefix: bytes = b"") -> list[bytes]:
        """``[n]`` strings without their padding, behind a prefix."""
        flat = self.raw[self.used].tobytes()
        ends = self.used.view(np.uint8).sum(axis=1, dtype=np.uint32).cumsum().tolist()
        return [prefix + flat[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def fixed(raw: NDArray[np.uint8]) -> Cells:
    """Strings that all have the width of ``raw`` ``[..., w]``."""
    return Cells(raw, np.ones(raw.shape, bool))


def longs(values: NDArray[np.int64]) -> Cells:
    """Avro ``int`` and ``long``: zigzag, then seven bits a byte, low bits first.

    The cells are as wide as the longest of these numbers.

    Args:
        values: ``[...]``.
    """
    zigzag = ((values << 1) ^ (values >> 63)).astype(np.uint64)
    longest = max(1, -(-int(zigzag.max(initial=0)).bit_length() // 7))
    rest = zigzag[..., None] >> SEVENS[:longest]
    used = rest != 0
    used[..., 0] = True
    raw = rest.astype(np.uint8) & np.uint8(0x7F)
    raw[..., :-1] |= used[..., 1:].view(np.uint8) << 7
    return Cells(raw, used)


def texts(values: Sequence[str]) -> Cells:
    """Avro ``string``: length in bytes, then UTF-8.

    Args:
        values: ``[n]``.
    """
    encoded = [value.encode() for value in values]
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    # NumPy drops zeros at the end of a string; as padding they are there again.
    raw = np.array(encoded, np.bytes_).view(np.uint8).reshape(len(encoded), -1)
    return Cells.beside(longs(lengths), Cells(raw, np.arange(raw.shape[1]) < lengths[:, None]))


def long(value: int) -> bytes:
    """One Avro ``long``."""
    return longs(np.array([value])).strings()[0]


def text(value: str) -> bytes:
    """One Avro ``string``."""
    return texts([value]).strings()[0]


class ListEncoder:
    """Encodes the lists of one engine.

    Args:
        stamp: the engine's part of every list.
        item_ids: ``[I]`` item ids by catalogue index; index 0 is the unknown item.
        channels: ``[C]`` recall channels by index.
    """

    def __init__(
        self, stamp: EngineStamp, item_ids: Sequence[str], channels: Sequence[str]
    ) -> None:
        self._prefix = stamp.encode()
        self._items = texts(item_ids)
        self._channels = texts(channels)

    def encode(
        self,
        users: Sequence[str],
        requests: Requests,
        ranked: RankedBatch,
        generated_at: int | None = None,
    ) -> list[bytes]:
        """Lists as Avro behind the stamp's header.

        Args:
            users: ``[n]`` user ids.
            requests: ``[n]``, what was asked for and the profiles it is made of.
            ranked: the engine's answer to the ``n`` profiles.
            generated_at: ms since 1970; now if None.
        """
        heads = requests.heads
        profiles = heads["profile"]
        numbers = np.empty((len(requests), 7), np.int64)
        numbers[:, 0] = profiles["user_epoch"]
        numbers[:, 1] = profiles["version"]
        numbers[:, 2] = heads["cause"]
        numbers[:, 3] = heads["source_partition"]
        numbers[:, 4] = heads["source_offset"]
        numbers[:, 5] = heads["event_time"]
        numbers[:, 6] = time.time_ns() // 1_000_000 if generated_at is None else generated_at
        return Cells.beside(
            texts(users),
            longs(numbers).joined(),
            fixed(digests(heads)),
            self._listed(ranked),
        ).strings(self._prefix)

    def _listed(self, ranked: RankedBatch) -> Cells:
        """The ``items`` field: an array of one block, then an empty one; only that for no items."""
        there = np.isfinite(ranked.scores)
        count = there.sum(axis=1)
        scores = ranked.scores.astype("<f4").view(np.uint8).reshape(*there.shape, 4)
        items = Cells.beside(
            self._items[ranked.items], fixed(scores), self._channels[ranked.channels]
        )
        end = fixed(np.zeros((len(count), 1), np.uint8)).where(count > 0)
        return Cells.beside(longs(count), items.where(there).joined(), end)


def digests(heads: NDArray[np.void]) -> NDArray[np.uint8]:
    """``events_digest`` and ``profile_hash`` of HEAD_DTYPE ``[n]``, uint8 ``[n, 32]``."""
    found = np.empty((len(heads), 32), np.uint8)
    found[:, :16] = heads["profile"]["events_digest"].astype("<u8").view(np.uint8)
    found[:, 16:] = heads["profile_hash"]
    return found

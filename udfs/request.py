"""What the profile function (Java) asks of the ranking function (Python), drawn once, here.

``udfs/java/.../Request.java`` writes the same bytes; a test compares the two.

    offset  bytes  field
         0      1  action            0 none, 1 list, 2 tombstone
         1      1  cause             1 event, 2 rerank, 0 otherwise
         2      2  zero
         4      4  source_partition  of the record that asks, in its topic
         8      8  source_offset
        16      8  event_time        ms since 1970; of an order: ``as_of``
        24     16  profile_hash      XXH3-128 of the whole profile, low 64 bits first
        40    160  profile           its header, see ``schemas.profile``
       200    24h  history           the h slots that are filled, oldest first
   200+24h     8x  excluded          the x slots that are filled

One column instead of one for every field: each costs a conversion on both sides of the hop. And
of the profile only what an engine may look at: each byte is copied some ten times on its way.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from engines.features import Histories
from schemas.profile import EXCLUDED_SLOTS, HEADER_DTYPE


class Action(IntEnum):
    """What is asked for, and what the answer is. The job's SQL lets LIST and TOMBSTONE pass.

    NONE: nothing was asked for; the row is there for the audit.
    LIST: the Avro value of a fresh list.
    TOMBSTONE: the user was forgotten; the value is null.
    SUPERSEDED: a newer request of the same user is in the batch (``emit = "latest"``).
    FAILED: this request alone could not be answered.
    """

    NONE = 0
    LIST = 1
    TOMBSTONE = 2
    SUPERSEDED = 3
    FAILED = 4


EVENT = 1
"""The cause of a request that an event made; all others come of orders."""

SOURCE_DTYPE = np.dtype(
    [
        ("action", "u1"),
        ("cause", "u1"),
        ("zero", "<u2"),
        ("source_partition", "<i4"),
        ("source_offset", "<i8"),
        ("event_time", "<i8"),
    ]
)
HEAD_DTYPE = np.dtype([*SOURCE_DTYPE.descr, ("profile_hash", "u1", 16), ("profile", HEADER_DTYPE)])
WORD_BYTES = 8
HEAD_WORDS = HEAD_DTYPE.itemsize // WORD_BYTES
SLOT_WORDS = 3  # item_hash; event_time; value, event_type and zeros
TYPE_SHIFT = 32
"""Where event_type begins in the last word of a slot, in bits."""
FIX = "jar and Python are of different releases: `make jar`, or install both again"


class Requests:
    """The requests of a batch, which lie in one buffer; rows are taken without copying it.

    Attributes:
        heads: HEAD_DTYPE [n], all that has a fixed place.
    """

    def __init__(self, words: NDArray[np.uint64], starts: NDArray[np.int64]) -> None:
        self._words = words
        self._starts = starts
        in_head = starts[:, None] + np.arange(HEAD_WORDS)
        self.heads: NDArray[np.void] = words[in_head].view(HEAD_DTYPE)[:, 0]

    @classmethod
    def unpack(cls, packed: Sequence[bytes]) -> Requests:
        """Of ``[n]`` packed requests.

        Raises:
            ValueError: one of them has not the length that its head says.
        """
        lengths = np.fromiter(map(len, packed), np.int64, len(packed))
        if (lengths < HEAD_DTYPE.itemsize).any() or (lengths % WORD_BYTES).any():
            raise ValueError(
                f"expected at least {HEAD_DTYPE.itemsize} bytes a request, in eights; received "
                f"{lengths.min()} to {lengths.max()}; {FIX}"
            )
        ends = np.cumsum(lengths // WORD_BYTES)
        words = np.frombuffer(b"".join(packed), "<u8")
        requests = cls(words, ends - lengths // WORD_BYTES)
        profile = requests.heads["profile"]
        slots = SLOT_WORDS * profile["history_len"].astype(np.int64) + profile["excluded_len"]
        wrong = np.flatnonzero(lengths != WORD_BYTES * (HEAD_WORDS + slots))
        if len(wrong):
            expected = WORD_BYTES * (HEAD_WORDS + int(slots[wrong[0]]))
            raise ValueError(
                f"expected a request of {expected} bytes; received {lengths[wrong[0]]}; {FIX}"
            )
        return requests

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, rows: slice | Sequence[int] | NDArray[np.int64]) -> Requests:
        return Requests(self._words, self._starts[rows])

    def sources(self) -> bytes:
        """What says which records ask, SOURCE_DTYPE ``[n]``."""
        words = np.arange(SOURCE_DTYPE.itemsize // WORD_BYTES)
        return self._words[self._starts[:, None] + words].tobytes()

    def histories(self, slots: int) -> Histories:
        """The newest ``slots`` events of each, and what is excluded."""
        profile = self.heads["profile"]
        length = profile["history_len"].astype(np.int64)
        kept = np.minimum(length, slots)
        history_at = self._starts + HEAD_WORDS
        excluded_at = history_at + SLOT_WORDS * length
        excluded_length = profile["excluded_len"].astype(np.int64)
        events = _each(excluded_at - SLOT_WORDS * kept, kept, SLOT_WORDS)
        return Histories(
            lengths=kept,
            item_hash=self._words[events],
            event_type=(self._words[events + 2] >> np.uint64(TYPE_SHIFT)).astype(np.uint8),
            event_time=self._words[events + 1].view(np.int64),
            excluded_lengths=excluded_length,
            excluded=self._words[_each(excluded_at, excluded_length, 1)],
            slots=slots,
            excluded_slots=EXCLUDED_SLOTS,
        )


def _each(starts: NDArray[np.int64], counts: NDArray[np.int64], step: int) -> NDArray[np.int64]:
    """Every place of runs that begin at ``starts`` and count on by ``step``.

    >>> _each(np.array([10, 50]), np.array([3, 2]), 3).tolist()
    [10, 13, 16, 50, 53]
    """
    before = np.cumsum(counts) - counts
    places: NDArray[np.int64] = np.arange(int(counts.sum())) * step
    places += np.repeat(starts - before * step, counts)
    return places

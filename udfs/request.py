"""What the profile function (Java) asks of the ranking function (Python), drawn once, here.

``udfs/java/.../Request.java`` writes the same bytes; a test compares the two.

    offset  bytes  field
         0      1  action            0 none, 1 list, 2 tombstone
         1      1  cause             1 event, 2 rerank, 0 otherwise
         2      2  zero
         4      4  source_partition  of the record that asks, in its topic
         8      8  source_offset
        16      8  event_time        ms since 1970; of an order: ``as_of``
        24   2384  profile           see ``schemas.profile``
      2408

One column instead of one for every field: each costs a conversion on both sides of the hop.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from schemas.profile import PROFILE_DTYPE


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

HEAD_DTYPE = np.dtype(
    [
        ("action", "u1"),
        ("cause", "u1"),
        ("zero", "<u2"),
        ("source_partition", "<i4"),
        ("source_offset", "<i8"),
        ("event_time", "<i8"),
    ]
)
REQUEST_DTYPE = np.dtype([*HEAD_DTYPE.descr, ("profile", PROFILE_DTYPE)])
REQUEST_BYTES = REQUEST_DTYPE.itemsize


def requests_of(packed: Sequence[bytes]) -> NDArray[np.void]:
    """``[n]`` packed requests as one REQUEST_DTYPE ``[n]``.

    Raises:
        ValueError: one of them has another length.
    """
    requests = np.frombuffer(b"".join(packed), REQUEST_DTYPE)
    if len(requests) != len(packed):
        raise ValueError(f"{len(packed)} rows hold {len(requests)} requests")
    return requests

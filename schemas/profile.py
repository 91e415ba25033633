"""The packed profile: one user's state as 2,384 little-endian bytes, drawn once, here.

``udfs/java/.../Layout.java`` holds the same offsets, ``pipeline/replay/fold.py`` folds the same
bytes in pure Python, and a test compares the three byte for byte.

    offset  bytes  field
         0      2  layout            1
         2      2  history_len       0..50, how many slots of ``history`` are filled
         4      2  excluded_len      0..64
         6      2  recent_len        0..64
         8      8  user_epoch        how often the user was forgotten
        16      8  version           events applied in this user epoch
        24     16  events_digest     sum mod 2^128 of XXH3-128(event_id), low 64 bits first
        40      8  first_event_time  ms since 1970 of the oldest applied event, 0 if none
        48      8  last_event_time   ms since 1970 of the newest applied event, 0 if none
        56      8  forgotten_as_of   ms since 1970, or MIN_TIME_MS if never forgotten
        64      8  counts_time       ms since 1970 that ``counts`` are decayed to
        72     64  counts            16 x u4, decayed count per event type, 16.16 fixed point
       136      4  duplicates        events dropped because their id was applied before
       140      4  late              events dropped because they were too old
       144      4  forgotten         events dropped because of ``forgotten_as_of``
       148      4  controls          control messages seen
       152      8  reserved          0
       160   1200  history           50 x 24, oldest first, then zeros
      1360    512  excluded          64 x u8, item hashes: bought, disliked, hidden; oldest first
      1872    512  recent            64 x u8, low 64 bits of XXH3-128(event_id), oldest first
      2384

    one slot of ``history``: item_hash u8, event_time i8, value f4, event_type u1, 3 zero bytes
"""

from __future__ import annotations

import numpy as np

LAYOUT = 1
HISTORY_SLOTS = 50
EXCLUDED_SLOTS = 64
RECENT_SLOTS = 64
TYPE_SLOTS = 16
MIN_TIME_MS = -(2**63)

HISTORY_DTYPE = np.dtype(
    [
        ("item_hash", "<u8"),
        ("event_time", "<i8"),
        ("value", "<f4"),
        ("event_type", "u1"),
        ("zero", "u1", 3),
    ]
)

HEADER_DTYPE = np.dtype(
    [
        ("layout", "<u2"),
        ("history_len", "<u2"),
        ("excluded_len", "<u2"),
        ("recent_len", "<u2"),
        ("user_epoch", "<u8"),
        ("version", "<u8"),
        ("events_digest", "<u8", 2),  # low, high
        ("first_event_time", "<i8"),
        ("last_event_time", "<i8"),
        ("forgotten_as_of", "<i8"),
        ("counts_time", "<i8"),
        ("counts", "<u4", TYPE_SLOTS),
        ("duplicates", "<u4"),
        ("late", "<u4"),
        ("forgotten", "<u4"),
        ("controls", "<u4"),
        ("reserved", "<u8"),
    ]
)
"""What comes before the history."""

PROFILE_DTYPE = np.dtype(
    [
        *HEADER_DTYPE.descr,
        ("history", HISTORY_DTYPE, HISTORY_SLOTS),
        ("excluded", "<u8", EXCLUDED_SLOTS),
        ("recent", "<u8", RECENT_SLOTS),
    ]
)

PROFILE_BYTES = PROFILE_DTYPE.itemsize
